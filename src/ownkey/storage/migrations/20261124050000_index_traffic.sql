-- For what administrators watch: the last hour of everybody's events, and the events that are fallbacks. Events come
-- in the order of time, so that a block range index finds a day at nearly no cost for who writes; fallbacks are few.

set role ownkey_owner;

create index usage_events_time on ownkey.usage_events
    using brin (occurred_at) with (pages_per_range = 32, autosummarize = on);
create index usage_events_fallback on ownkey.usage_events (occurred_at) where attempt > 1;

reset role;
