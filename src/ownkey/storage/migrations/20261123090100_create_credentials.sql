-- Credentials: what may be seen of them in ownkey, the sealed bytes and the wrapped data keys in ownkey_private.
-- Keys begin with user_id: uniqueness is per user, so that no constraint says whether another user has something,
-- and every look-up under a policy is an index look-up.

set role ownkey_owner;

create table ownkey.credentials (
    user_id text not null default ownkey.current_user_id() references ownkey.users (id) on delete cascade,
    id uuid not null,
    provider text not null check (char_length(provider) between 1 and 100),
    label text not null check (char_length(label) between 1 and 80),
    hint text not null check (char_length(hint) <= 16),  -- too short for a whole secret to end here by mistake
    base_url text check (char_length(base_url) <= 2000),  -- for display; the secret's destination is beside the secret
    position integer not null default 0,
    enabled boolean not null default true,
    status text not null default 'unverified' check (status in (
        'unverified', 'ok', 'limited', 'rate_limited', 'out_of_credit', 'invalid', 'expired', 'unreadable'
    )),
    status_reason text check (char_length(status_reason) <= 200),
    status_until timestamptz,
    expires_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    last_used_at timestamptz,
    last_tested_at timestamptz,
    request_count bigint not null default 0,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    primary key (user_id, id)
);
create trigger set_updated_at before update of label, hint, base_url, position, enabled, expires_at
    on ownkey.credentials for each row execute function ownkey_private.set_updated_at();
alter table ownkey.credentials enable row level security;
alter table ownkey.credentials force row level security;
create policy roles on ownkey.credentials as restrictive for all to public
    using (current_user in ('ownkey_gateway', 'ownkey_owner', 'ownkey_admin'));
create policy floor on ownkey.credentials as restrictive for all to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_select on ownkey.credentials for select to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_insert on ownkey.credentials for insert to ownkey_gateway
    with check (user_id = (select ownkey.current_user_id()));
create policy own_update on ownkey.credentials for update to ownkey_gateway
    using (user_id = (select ownkey.current_user_id())) with check (user_id = (select ownkey.current_user_id()));
create policy own_delete on ownkey.credentials for delete to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy admin_select on ownkey.credentials for select to ownkey_admin
    using (current_user = 'ownkey_admin');
-- For the usage function, which counts the requests of several users at once.
create policy owner_select on ownkey.credentials for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_update on ownkey.credentials for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
grant select, delete,
    insert (user_id, id, provider, label, hint, base_url, position, expires_at),
    update (label, hint, base_url, position, enabled, status, status_reason, status_until, expires_at, last_tested_at)
    on ownkey.credentials to ownkey_gateway;
grant select on ownkey.credentials to ownkey_admin;

-- base_url stands beside the sealed bytes: destination and secret are one pair from one row, and no change of the
-- visible row can send a secret elsewhere. sealed is NULL after the destination was changed; generation only grows.
create table ownkey_private.credential_secrets (
    user_id text not null,
    credential_id uuid not null,
    base_url text check (char_length(base_url) <= 2000),
    sealed bytea check (octet_length(sealed) between 1 and 8192),
    fingerprint bytea check (octet_length(fingerprint) = 32),
    generation integer not null check (generation > 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (user_id, credential_id),
    foreign key (user_id, credential_id) references ownkey.credentials (user_id, id) on delete cascade,
    unique (user_id, fingerprint),
    check ((sealed is null) = (fingerprint is null))
);
create trigger set_updated_at before update on ownkey_private.credential_secrets
    for each row execute function ownkey_private.set_updated_at();
alter table ownkey_private.credential_secrets enable row level security;
alter table ownkey_private.credential_secrets force row level security;
create policy roles on ownkey_private.credential_secrets as restrictive for all to public
    using (current_user = 'ownkey_gateway');
create policy floor on ownkey_private.credential_secrets as restrictive for all to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_select on ownkey_private.credential_secrets for select to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_insert on ownkey_private.credential_secrets for insert to ownkey_gateway
    with check (user_id = (select ownkey.current_user_id()));
create policy own_update on ownkey_private.credential_secrets for update to ownkey_gateway
    using (user_id = (select ownkey.current_user_id())) with check (user_id = (select ownkey.current_user_id()));
grant select,
    insert (user_id, credential_id, base_url, sealed, fingerprint, generation),
    update (base_url, sealed, fingerprint, generation)
    on ownkey_private.credential_secrets to ownkey_gateway;

create table ownkey_private.data_keys (
    user_id text primary key references ownkey.users (id) on delete cascade,
    wrapped bytea not null check (octet_length(wrapped) between 1 and 8192),
    wrapping_key_id text not null check (char_length(wrapping_key_id) between 1 and 200),
    version integer not null check (version > 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index data_keys_wrapping_key_id on ownkey_private.data_keys (wrapping_key_id, user_id);
create trigger set_updated_at before update on ownkey_private.data_keys
    for each row execute function ownkey_private.set_updated_at();
alter table ownkey_private.data_keys enable row level security;
alter table ownkey_private.data_keys force row level security;
create policy roles on ownkey_private.data_keys as restrictive for all to public
    using (current_user in ('ownkey_gateway', 'ownkey_rotator'));
create policy floor on ownkey_private.data_keys as restrictive for all to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_select on ownkey_private.data_keys for select to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_insert on ownkey_private.data_keys for insert to ownkey_gateway
    with check (user_id = (select ownkey.current_user_id()));
-- The rotator meets wrapped keys only, never a sealed secret.
create policy rotator_select on ownkey_private.data_keys for select to ownkey_rotator
    using (current_user = 'ownkey_rotator');
create policy rotator_update on ownkey_private.data_keys for update to ownkey_rotator
    using (current_user = 'ownkey_rotator') with check (current_user = 'ownkey_rotator');
grant select, insert (user_id, wrapped, wrapping_key_id, version) on ownkey_private.data_keys to ownkey_gateway;
grant select, update (wrapped, wrapping_key_id) on ownkey_private.data_keys to ownkey_rotator;

create table ownkey.task_overrides (
    user_id text not null default ownkey.current_user_id() references ownkey.users (id) on delete cascade,
    task text not null check (char_length(task) between 1 and 40),
    provider text not null check (char_length(provider) between 1 and 100),
    model text check (char_length(model) between 1 and 200),
    credential_id uuid,
    payer text check (payer in ('own_only', 'own_then_shared', 'shared_only')),
    allow_fallback boolean,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (user_id, task),
    -- With user_id inside, nobody can pin another user's credential.
    foreign key (user_id, credential_id) references ownkey.credentials (user_id, id)
        on delete set null (credential_id)
);
create index task_overrides_credential on ownkey.task_overrides (user_id, credential_id);
create trigger set_updated_at before update on ownkey.task_overrides
    for each row execute function ownkey_private.set_updated_at();
alter table ownkey.task_overrides enable row level security;
alter table ownkey.task_overrides force row level security;
create policy roles on ownkey.task_overrides as restrictive for all to public
    using (current_user in ('ownkey_gateway', 'ownkey_admin'));
create policy floor on ownkey.task_overrides as restrictive for all to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_select on ownkey.task_overrides for select to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_insert on ownkey.task_overrides for insert to ownkey_gateway
    with check (user_id = (select ownkey.current_user_id()));
create policy own_update on ownkey.task_overrides for update to ownkey_gateway
    using (user_id = (select ownkey.current_user_id())) with check (user_id = (select ownkey.current_user_id()));
create policy own_delete on ownkey.task_overrides for delete to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy admin_select on ownkey.task_overrides for select to ownkey_admin
    using (current_user = 'ownkey_admin');
grant select, delete,
    insert (user_id, task, provider, model, credential_id, payer, allow_fallback),
    update (provider, model, credential_id, payer, allow_fallback)
    on ownkey.task_overrides to ownkey_gateway;
grant select on ownkey.task_overrides to ownkey_admin;

reset role;
