drop trigger providers_lifecycle on providers;
drop trigger instances_lifecycle on instances;
drop function report_lifecycle;
