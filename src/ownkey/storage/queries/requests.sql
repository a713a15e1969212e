-- name: list_requests
-- All attempts of the latest requests before $1 of which one attempt is as $2 to $9 ask; requests newest first.
select
    e.request_id, e.id::text, e.occurred_at, e.attempt, e.task, e.provider, e.model, e.requested_model,
    e.credential_id::text, c.label as credential_label, e.payer, e.operation, e.streamed, e.outcome, e.http_status,
    e.input_uncached, e.cache_read, e.cache_write, e.output_text, e.output_reasoning, e.tokens_source, e.service_tier,
    coalesce(e.fallback, false) as fallback, e.cost_microdollars, e.cost_source, e.price_version, e.duration_ms,
    e.first_byte_ms, e.provider_request_id, e.finish_reason
from ownkey_private.latest_requests($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) e
left join ownkey.credentials c on c.user_id = e.user_id and c.id = e.credential_id
order by e.request_id collate "C" desc, e.attempt, e.occurred_at, e.id;

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
