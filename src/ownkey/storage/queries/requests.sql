-- name: list_requests
-- All attempts of the latest requests before $1 of which one attempt is as asked; requests newest first. 'z' is behind
-- every id, so that the first page is a range of the index like any other.
with latest as (
    select request_id collate "C" as id
    from ownkey.usage_events
    where request_id collate "C" < coalesce($1::text, 'z')
        and ($2::text is null or provider = $2)
        and ($3::text is null or task = $3)
        and ($4::text is null or outcome = $4 or ($4 = 'error' and outcome not in ('ok', 'client_gone')))
    group by 1
    order by 1 desc
    limit $5
)
select
    e.request_id, e.id::text, e.occurred_at, e.attempt, e.task, e.provider, e.model, e.requested_model,
    e.credential_id::text, c.label as credential_label, e.payer, e.operation, e.streamed, e.outcome, e.http_status,
    e.input_uncached, e.cache_read, e.cache_write, e.output_text, e.output_reasoning, e.tokens_source,
    e.cost_microdollars, e.price_version, e.duration_ms, e.first_byte_ms, e.provider_request_id, e.finish_reason
from latest
join ownkey.usage_events e on e.request_id collate "C" = latest.id
left join ownkey.credentials c on c.user_id = e.user_id and c.id = e.credential_id
order by latest.id desc, e.attempt, e.occurred_at, e.id;
