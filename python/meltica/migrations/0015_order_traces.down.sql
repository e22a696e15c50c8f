drop index refusals_of_order;
alter table refusals drop column trigger, drop column intent_at;
alter table fills drop column booked_at;
alter table orders drop column trigger;
