//! Everything from the outside: the admin listener over real sockets, the commands, and the status page in a real browser.

mod browser;
mod commands;
mod described;
mod fake;
mod http;
mod scrape;
mod service;
mod webdriver;
