-- name: list_requests
-- All attempts of the latest requests before $1 of which one attempt is as $2 to $9 ask; requests newest first. 'z' is
-- behind every id, so that the first page is a range of the index like any other.
with latest as (
    select request_id collate "C" as id
    from ownkey.usage_events
    where request_id collate "C" < coalesce($1::text, 'z')
        and occurred_at >= coalesce($2::timestamptz, '-infinity')
        and occurred_at < coalesce($3::timestamptz, 'infinity')
        and ($4::text is null or provider = $4)
        and ($5::text is null or model = $5)
        and ($6::text is null or task = $6)
        and ($7::uuid is null or credential_id = $7)
        and ($8::text is null or payer = $8)
        and ($9::text is null or outcome = $9 or ($9 = 'error' and outcome not in ('ok', 'client_gone')))
    group by 1
    order by 1 desc
    limit $10
)
select
    e.request_id, e.id::text, e.occurred_at, e.attempt, e.task, e.provider, e.model, e.requested_model,
    e.credential_id::text, c.label as credential_label, e.payer, e.operation, e.streamed, e.outcome, e.http_status,
    e.input_uncached, e.cache_read, e.cache_write, e.output_text, e.output_reasoning, e.tokens_source, e.service_tier,
    coalesce(e.fallback, false) as fallback, e.cost_microdollars, e.cost_source, e.price_version, e.duration_ms,
    e.first_byte_ms, e.provider_request_id, e.finish_reason
from latest
join ownkey.usage_events e on e.request_id collate "C" = latest.id
left join ownkey.credentials c on c.user_id = e.user_id and c.id = e.credential_id
order by latest.id desc, e.attempt, e.occurred_at, e.id;

-- name: find_request
-- All attempts of one request.
select
    e.request_id, e.id::text, e.occurred_at, e.attempt, e.task, e.provider, e.model, e.requested_model,
    e.credential_id::text, c.label as credential_label, e.payer, e.operation, e.streamed, e.outcome, e.http_status,
    e.input_uncached, e.cache_read, e.cache_write, e.output_text, e.output_reasoning, e.tokens_source, e.service_tier,
    coalesce(e.fallback, false) as fallback, e.cost_microdollars, e.cost_source, e.price_version, e.duration_ms,
    e.first_byte_ms, e.provider_request_id, e.finish_reason
from ownkey.usage_events e
left join ownkey.credentials c on c.user_id = e.user_id and c.id = e.credential_id
where e.request_id collate "C" = $1::text
order by e.attempt, e.occurred_at, e.id;
