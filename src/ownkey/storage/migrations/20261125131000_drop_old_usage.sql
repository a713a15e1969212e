-- Retention: whole months of events go at once, their daily sums stay. Only the owner may drop a table, so this runs as
-- the owner, and whoever may call it cannot make it take this month or the one before.

set role ownkey_owner;

-- Drop the partitions of months that ended at least `months` months ago; what the default partition holds of that time
-- goes too. Returns how many partitions were dropped. Where writers do not let go of the table for two seconds, all is
-- left for the next time.
create function ownkey_private.drop_old_usage(months integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC'
as $$
declare
    first_kept timestamptz := date_trunc('month', now()) - make_interval(months => greatest(months, 1));
    partition_name text;
    dropped integer := 0;
begin
    if not pg_try_advisory_xact_lock(hashtextextended('ownkey.usage_partitions', 0)) then
        return 0;
    end if;
    perform set_config('lock_timeout', '2s', true);
    for partition_name in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'ownkey.usage_events'::regclass and c.relname ~ '^usage_events_\d{4}_\d{2}$'
            and to_date(right(c.relname, 7), 'YYYY_MM') < first_kept::date
        order by c.relname
    loop
        execute format('drop table ownkey_private.%I', partition_name);
        dropped := dropped + 1;
    end loop;
    delete from ownkey_private.usage_events_default where occurred_at < first_kept;
    return dropped;
exception when lock_not_available then
    return 0;
end
$$;
revoke execute on function ownkey_private.drop_old_usage(integer) from public;
grant execute on function ownkey_private.drop_old_usage(integer) to ownkey_gateway;

reset role;
