-- Which account the settings of a provider of the config file select: a salted hash, as they may be secrets.
alter table providers add column account text check (account <> '');
