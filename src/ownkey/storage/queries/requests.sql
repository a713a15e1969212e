-- name: list_requests
-- All attempts of the latest requests from $1 to before $2 of which one attempt is as $3 to $10 ask; newest first.
select
    e.request_id, e.id::text, e.occurred_at, e.attempt, e.task, e.provider, e.model, e.requested_model,
    e.credential_id::text, c.label as credential_label, e.payer, e.operation, e.streamed, e.outcome, e.http_status,
    e.input_uncached, e.cache_read, e.cache_write, e.output_text, e.output_reasoning, e.tokens_source, e.service_tier,
    coalesce(e.fallback, false) as fallback, e.cost_microdollars, e.cost_source, e.price_version, e.duration_ms,
    e.first_byte_ms, e.provider_request_id, e.finish_reason, e.skipped
from ownkey_private.latest_requests($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) e
left join ownkey.credentials c on c.user_id = e.user_id and c.id = e.credential_id
order by e.request_id collate "C" desc, e.attempt, e.occurred_at, e.id;

-- name: find_days
-- The first and the last day on which the user has calls as $1 to $5 ask: no others need to be looked through.
select min(day) as first, max(day) as last
from ownkey.usage_daily
where ($1::text is null or provider = $1)
    and ($2::text is null or model = $2)
    and ($3::text is null or task = $3)
    and ($4::uuid is null or credential_id = $4)
    and ($5::text is null or payer = $5);

-- name: find_request
-- All attempts of one request.
select
    e.request_id, e.id::text, e.occurred_at, e.attempt, e.task, e.provider, e.model, e.requested_model,
    e.credential_id::text, c.label as credential_label, e.payer, e.operation, e.streamed, e.outcome, e.http_status,
    e.input_uncached, e.cache_read, e.cache_write, e.output_text, e.output_reasoning, e.tokens_source, e.service_tier,
    coalesce(e.fallback, false) as fallback, e.cost_microdollars, e.cost_source, e.price_version, e.duration_ms,
    e.first_byte_ms, e.provider_request_id, e.finish_reason, e.skipped
from ownkey.usage_events e
left join ownkey.credentials c on c.user_id = e.user_id and c.id = e.credential_id
where e.request_id collate "C" = $1::text
order by e.attempt, e.occurred_at, e.id;
