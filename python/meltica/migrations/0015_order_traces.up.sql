-- What a trace of an order shows beside its times: the callback that requested it, with the event that the callback
-- was about, and when its fills were booked.
alter table orders add column trigger json;
alter table fills add column booked_at nanoseconds;
-- The same of a refused order. Its id is that of no row of `orders`, unless an amendment was refused.
alter table refusals
    add column intent_at nanoseconds,
    add column trigger json;
create index refusals_of_order on refusals (order_id) where order_id is not null;
