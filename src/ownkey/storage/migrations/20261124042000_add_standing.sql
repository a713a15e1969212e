-- Who a user is to the server beside their settings: for callers whom something else than a gateway token names.

set role ownkey_owner;

-- Role, status, the last "sign out everywhere" and the snapshot of one user, or NULL. One statement, one moment of the
-- database, and to be called outside a transaction block: role and identity are gone with it.
create function ownkey_private.load_standing(wanted text) returns json
language plpgsql set search_path = ''
as $$
begin
    perform set_config('role', 'ownkey_gateway', true),
        set_config('request.jwt.claims', json_build_object('sub', wanted)::text, true);
    return (
        select json_build_object(
            'role', u.role, 'status', u.status, 'signed_out_at', to_jsonb(u) -> 'signed_out_at',
            'snapshot', ownkey_private.build_snapshot(u.id, u.status = 'active'))
        from ownkey.users u where u.id = wanted
    );
end
$$;
revoke execute on function ownkey_private.load_standing(text) from public;
grant execute on function ownkey_private.load_standing(text) to ownkey_gateway;

reset role;
