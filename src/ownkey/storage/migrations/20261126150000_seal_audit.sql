-- Each audit entry is sealed: an HMAC over its hash and place, with a key that is here only in wrapped form. Whoever owns
-- the database can recompute the hashes of a chain that they have rewritten, and cannot make its seals.

set role ownkey_owner;

-- The key of the seals is a data key like the users' own, so that it is rotated with them, under an id that no user can
-- have. The foreign key goes by a column that is NULL for it.
alter table ownkey_private.data_keys drop constraint data_keys_user_id_fkey;
alter table ownkey_private.data_keys add column owner_id text
    generated always as (case when user_id <> E'\x01audit' then user_id end) stored
    unique references ownkey.users (id) on delete cascade;

-- Nobody ever wrote it.
alter table ownkey_private.audit_log drop column hmac;
-- By it, the transaction that appended an entry may seal it, and no other.
alter table ownkey_private.audit_log add column transaction_id xid8 not null default pg_current_xact_id();

create table ownkey_private.audit_seals (
    chain smallint not null,
    position bigint not null,
    seal bytea not null check (octet_length(seal) = 32),
    primary key (chain, position)
);
-- From which entry on a chain is sealed, under a seal of its own: what is older has none, and nothing later may lack one.
create table ownkey_private.audit_starts (
    chain smallint primary key,
    position bigint not null,
    hash bytea not null check (octet_length(hash) = 32),
    seal bytea not null check (octet_length(seal) = 32)
);

do $$
declare
    name text;
begin
    foreach name in array array['audit_seals', 'audit_starts'] loop
        execute format('alter table ownkey_private.%I enable row level security', name);
        execute format('alter table ownkey_private.%I force row level security', name);
        execute format(
            'create policy roles on ownkey_private.%I as restrictive for all to public '
            'using (current_user in (''ownkey_owner'', ''ownkey_auditor''))', name);
        execute format(
            'create policy auditor_select on ownkey_private.%I for select to ownkey_auditor '
            'using (current_user = ''ownkey_auditor'')', name);
        execute format(
            'create policy owner_select on ownkey_private.%I for select to ownkey_owner '
            'using (current_user = ''ownkey_owner'')', name);
        execute format(
            'create policy owner_insert on ownkey_private.%I for insert to ownkey_owner '
            'with check (current_user = ''ownkey_owner'')', name);
        execute format('grant select on ownkey_private.%I to ownkey_auditor', name);
        execute format(
            'create trigger refuse_change before update or delete on ownkey_private.%I '
            'for each row execute function ownkey_private.refuse_change()', name);
        execute format(
            'create trigger refuse_truncate before truncate on ownkey_private.%I '
            'for each statement execute function ownkey_private.refuse_change()', name);
    end loop;
end
$$;

create policy owner_select on ownkey_private.audit_log for select to ownkey_owner
    using (current_user = 'ownkey_owner');

-- Append one row, and give what its hash is made of. Only to the trail of the user whose identity the transaction
-- carries: nobody writes another's.
drop function ownkey_private.append_audit(text, text, text, text, json);
create function ownkey_private.append_audit(
    new_actor text, new_user_id text, new_action text, new_subject text, new_details json
) returns table (id bigint, chain smallint, "position" bigint, occurred_at timestamptz, previous_hash bytea)
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    head ownkey_private.audit_heads;
    new_id bigint;
    moment timestamptz;
    new_hash bytea;
begin
    if new_user_id is distinct from ownkey.current_user_id() then
        raise exception 'an audit row belongs to the user of the transaction' using errcode = 'insufficient_privilege';
    end if;
    -- Before the chain's lock: a transaction that changes the user's rows takes this one first, too.
    perform from ownkey.users u where u.id = new_user_id for no key update;
    select * into strict head from ownkey_private.audit_heads h
        where h.chain = get_byte(sha256(convert_to(new_user_id, 'UTF8')), 0) % 8
        for update;
    new_id := nextval('ownkey_private.audit_ids');
    moment := clock_timestamp();
    new_hash := ownkey_private.audit_hash(
        head.hash, new_id, head.chain, head.position + 1, moment, new_actor, new_user_id, new_action, new_subject,
        new_details::text);
    insert into ownkey_private.audit_log as l
        (id, chain, position, occurred_at, actor, user_id, action, subject, details, previous_hash, hash)
        values (new_id, head.chain, head.position + 1, moment, new_actor, new_user_id, new_action, new_subject,
            new_details, head.hash, new_hash);
    update ownkey_private.audit_heads h set position = head.position + 1, hash = new_hash where h.chain = head.chain;
    -- For `list_unsealed_audit`, which is asked where a function has appended.
    perform set_config('ownkey.audit_ids',
        concat_ws(',', nullif(current_setting('ownkey.audit_ids', true), ''), new_id), true);
    return query select new_id, head.chain, head.position + 1, moment, head.hash;
end
$$;
revoke execute on function ownkey_private.append_audit(text, text, text, text, json) from public;
grant execute on function ownkey_private.append_audit(text, text, text, text, json) to ownkey_gateway;

-- What this transaction has appended and not sealed yet.
create function ownkey_private.list_unsealed_audit() returns table (
    id bigint, chain smallint, "position" bigint, occurred_at timestamptz, actor text, user_id text, action text,
    subject text, details text, previous_hash bytea, hash bytea
)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select l.id, l.chain, l.position, l.occurred_at, l.actor, l.user_id, l.action, l.subject, l.details::text,
        l.previous_hash, l.hash
    from ownkey_private.audit_log l
    where l.id = any(string_to_array(nullif(current_setting('ownkey.audit_ids', true), ''), ',')::bigint[])
        and l.transaction_id = pg_current_xact_id_if_assigned()
        and not exists (
            select from ownkey_private.audit_seals s where s.chain = l.chain and s.position = l.position
        )
    order by l.id
$$;
revoke execute on function ownkey_private.list_unsealed_audit() from public;
grant execute on function ownkey_private.list_unsealed_audit() to ownkey_gateway, ownkey_admin, ownkey_rotator;

-- Seal entries of this transaction; says how many.
create function ownkey_private.seal_audit(ids bigint[], new_seals bytea[]) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    sealed integer;
begin
    insert into ownkey_private.audit_seals (chain, position, seal)
        select l.chain, l.position, given.seal
        from unnest(ids, new_seals) given (id, seal)
        join ownkey_private.audit_log l on l.id = given.id and l.transaction_id = pg_current_xact_id();
    get diagnostics sealed = row_count;
    return sealed;
end
$$;
revoke execute on function ownkey_private.seal_audit(bigint[], bytea[]) from public;
grant execute on function ownkey_private.seal_audit(bigint[], bytea[]) to ownkey_gateway, ownkey_admin, ownkey_rotator;

-- The heads from which the seals are to begin, and no row where they have begun. Locks the heads; the transaction that
-- asks goes on to `start_audit_seals`.
create function ownkey_private.lock_audit_heads() returns table (chain smallint, "position" bigint, hash bytea)
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    perform from ownkey_private.audit_heads h order by h.chain for update;
    return query select h.chain, h.position, h.hash from ownkey_private.audit_heads h
        where not exists (select from ownkey_private.audit_starts) order by h.chain;
end
$$;
revoke execute on function ownkey_private.lock_audit_heads() from public;
grant execute on function ownkey_private.lock_audit_heads() to ownkey_gateway;

create function ownkey_private.start_audit_seals(chains smallint[], new_seals bytea[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    insert into ownkey_private.audit_starts (chain, position, hash, seal)
        select h.chain, h.position, h.hash, given.seal
        from unnest(chains, new_seals) given (chain, seal)
        join ownkey_private.audit_heads h on h.chain = given.chain
$$;
revoke execute on function ownkey_private.start_audit_seals(smallint[], bytea[]) from public;
grant execute on function ownkey_private.start_audit_seals(smallint[], bytea[]) to ownkey_gateway;

-- Where seals have begun, no transaction that appended without sealing commits.
create function ownkey_private.require_seal() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (select from ownkey_private.audit_starts) and not exists (
        select from ownkey_private.audit_seals s where s.chain = new.chain and s.position = new.position
    ) then
        raise exception 'an audit entry was not sealed' using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end
$$;
revoke execute on function ownkey_private.require_seal() from public;
create constraint trigger require_seal after insert on ownkey_private.audit_log
    deferrable initially deferred for each row execute function ownkey_private.require_seal();

-- A function of the database is its owner's to replace: whoever verifies recomputes everything elsewhere.
drop function ownkey_private.verify_audit();

reset role;
