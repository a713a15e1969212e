-- The audit chain. Rows are appended by one function and never changed; each row's hash covers the hash before it.
-- Several chains, chosen by a hash of the user's id, keep users from waiting for one another.

set role ownkey_owner;

-- The canonical form of one row: a fixed label, then each field as its UTF-8 length (4 bytes, big-endian) and its
-- bytes; NULL is ff ff ff ff. Numbers are decimal text, the time is ISO 8601 in UTC with microseconds. Every field
-- carries its length, so no two rows share a form.
create function ownkey_private.audit_field(value text) returns bytea
language sql immutable parallel safe set search_path = ''
as $$
    select coalesce(int4send(octet_length(convert_to(value, 'UTF8'))) || convert_to(value, 'UTF8'), '\xffffffff'::bytea)
$$;
revoke execute on function ownkey_private.audit_field(text) from public;

-- SHA-256 over the previous row's hash and this row's canonical form.
create function ownkey_private.audit_hash(
    previous_hash bytea, id bigint, chain smallint, "position" bigint, occurred_at timestamptz, actor text, user_id text,
    action text, subject text, details text
) returns bytea
language sql stable parallel safe set search_path = ''
as $$
    select sha256(
        previous_hash || convert_to('ownkey-audit-v1', 'UTF8')
        || ownkey_private.audit_field(id::text)
        || ownkey_private.audit_field(chain::text)
        || ownkey_private.audit_field("position"::text)
        || ownkey_private.audit_field(to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
        || ownkey_private.audit_field(actor)
        || ownkey_private.audit_field(user_id)
        || ownkey_private.audit_field(action)
        || ownkey_private.audit_field(subject)
        || ownkey_private.audit_field(details)
    )
$$;
revoke execute on function
    ownkey_private.audit_hash(bytea, bigint, smallint, bigint, timestamptz, text, text, text, text, text) from public;

-- Orders the rows of all chains for people who page through them; gaps mean nothing.
create sequence ownkey_private.audit_ids as bigint;

create table ownkey_private.audit_log (
    id bigint not null unique,
    chain smallint not null,
    position bigint not null,
    occurred_at timestamptz not null,
    actor text not null,
    user_id text not null,
    action text not null,
    subject text,
    details json not null,  -- json, not jsonb: the text stays as it was hashed
    previous_hash bytea not null check (octet_length(previous_hash) = 32),
    hash bytea not null check (octet_length(hash) = 32),
    hmac bytea,
    primary key (chain, position)
);
create index audit_log_user on ownkey_private.audit_log (user_id, id);

-- The last row of each chain: what a cut-off tail is compared with, and the lock under which a chain grows.
create table ownkey_private.audit_heads (
    chain smallint primary key,
    position bigint not null,
    hash bytea not null check (octet_length(hash) = 32)
);
insert into ownkey_private.audit_heads
    select number, 0, sha256(convert_to('ownkey-audit-v1 chain ' || number, 'UTF8')) from generate_series(0, 7) number;

create function ownkey_private.refuse_change() returns trigger
language plpgsql set search_path = ''
as $$
begin
    raise exception 'the audit chain only grows' using errcode = 'insufficient_privilege';
end
$$;
revoke execute on function ownkey_private.refuse_change() from public;
create trigger refuse_change before update or delete on ownkey_private.audit_log
    for each row execute function ownkey_private.refuse_change();
create trigger refuse_truncate before truncate on ownkey_private.audit_log
    for each statement execute function ownkey_private.refuse_change();
create trigger refuse_delete before delete on ownkey_private.audit_heads
    for each row execute function ownkey_private.refuse_change();
create trigger refuse_truncate before truncate on ownkey_private.audit_heads
    for each statement execute function ownkey_private.refuse_change();

alter table ownkey_private.audit_log enable row level security;
alter table ownkey_private.audit_log force row level security;
create policy roles on ownkey_private.audit_log as restrictive for all to public
    using (current_user in ('ownkey_gateway', 'ownkey_owner', 'ownkey_admin', 'ownkey_auditor'));
create policy floor on ownkey_private.audit_log as restrictive for all to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy own_select on ownkey_private.audit_log for select to ownkey_gateway
    using (user_id = (select ownkey.current_user_id()));
create policy admin_select on ownkey_private.audit_log for select to ownkey_admin
    using (current_user = 'ownkey_admin');
create policy auditor_select on ownkey_private.audit_log for select to ownkey_auditor
    using (current_user = 'ownkey_auditor');
create policy owner_insert on ownkey_private.audit_log for insert to ownkey_owner
    with check (current_user = 'ownkey_owner');
grant select on ownkey_private.audit_log to ownkey_gateway, ownkey_admin, ownkey_auditor;

alter table ownkey_private.audit_heads enable row level security;
alter table ownkey_private.audit_heads force row level security;
create policy roles on ownkey_private.audit_heads as restrictive for all to public
    using (current_user in ('ownkey_owner', 'ownkey_auditor'));
create policy auditor_select on ownkey_private.audit_heads for select to ownkey_auditor
    using (current_user = 'ownkey_auditor');
create policy owner_select on ownkey_private.audit_heads for select to ownkey_owner
    using (current_user = 'ownkey_owner');
create policy owner_update on ownkey_private.audit_heads for update to ownkey_owner
    using (current_user = 'ownkey_owner') with check (current_user = 'ownkey_owner');
grant select on ownkey_private.audit_heads to ownkey_auditor;

-- Append one row. Only to the trail of the user whose identity the transaction carries: nobody writes another's.
create function ownkey_private.append_audit(
    new_actor text, new_user_id text, new_action text, new_subject text, new_details json
) returns void
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
    perform from ownkey.users where id = new_user_id for no key update;
    select * into strict head from ownkey_private.audit_heads
        where chain = get_byte(sha256(convert_to(new_user_id, 'UTF8')), 0) % 8
        for update;
    new_id := nextval('ownkey_private.audit_ids');
    moment := clock_timestamp();
    new_hash := ownkey_private.audit_hash(
        head.hash, new_id, head.chain, head.position + 1, moment, new_actor, new_user_id, new_action, new_subject,
        new_details::text);
    insert into ownkey_private.audit_log
        (id, chain, position, occurred_at, actor, user_id, action, subject, details, previous_hash, hash)
        values (new_id, head.chain, head.position + 1, moment, new_actor, new_user_id, new_action, new_subject,
            new_details, head.hash, new_hash);
    update ownkey_private.audit_heads set position = head.position + 1, hash = new_hash where chain = head.chain;
end
$$;
revoke execute on function ownkey_private.append_audit(text, text, text, text, json) from public;
grant execute on function ownkey_private.append_audit(text, text, text, text, json) to ownkey_gateway;

-- The first row of each chain that is not as it was written, and why; no row when all is well. Tampering that also
-- rewrites every later hash and the head is found by comparing heads with a copy that was kept elsewhere.
create function ownkey_private.verify_audit() returns table (chain smallint, "position" bigint, reason text)
language sql stable set search_path = ''
as $$
    with walked as (
        select
            l.*,
            lag(l.position, 1, 0) over w as position_before,
            lag(l.hash, 1, sha256(convert_to('ownkey-audit-v1 chain ' || l.chain, 'UTF8'))) over w as hash_before
        from ownkey_private.audit_log l
        window w as (partition by l.chain order by l.position)
    ),
    faults as (
        select w.chain, w.position, case
            when w.position <> w.position_before + 1 then 'rows are missing before this one'
            when w.previous_hash <> w.hash_before then 'the row does not follow the one before it'
            when w.hash <> ownkey_private.audit_hash(
                w.previous_hash, w.id, w.chain, w.position, w.occurred_at, w.actor, w.user_id, w.action, w.subject,
                w.details::text
            ) then 'the row was changed'
        end as reason
        from walked w
        union all
        select heads.chain, heads.position, 'the end of the chain is not the row that was written last'
        from ownkey_private.audit_heads heads
        left join ownkey_private.audit_log l on l.chain = heads.chain and l.position = heads.position
        where (heads.position > 0 and l.hash is distinct from heads.hash)
            or exists (
                select from ownkey_private.audit_log beyond
                where beyond.chain = heads.chain and beyond.position > heads.position
            )
        union all
        select missing.number::smallint, 0::bigint, 'the head of the chain is missing'
        from generate_series(0, 7) missing (number)
        where not exists (select from ownkey_private.audit_heads heads where heads.chain = missing.number)
    )
    select distinct on (f.chain) f.chain, f.position, f.reason
    from faults f
    where f.reason is not null
    order by f.chain, f.position
$$;
revoke execute on function ownkey_private.verify_audit() from public;
grant execute on function ownkey_private.verify_audit() to ownkey_auditor;
grant execute on function ownkey_private.audit_field(text) to ownkey_auditor;
grant execute on function
    ownkey_private.audit_hash(bytea, bigint, smallint, bigint, timestamptz, text, text, text, text, text) to ownkey_auditor;

reset role;
