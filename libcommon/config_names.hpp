// What the configuration file and command lines that override it accept as names, addresses and lists.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gw {

/// ASCII only: names in the configuration are not words of a language.
std::string to_lower(std::string_view text);
/// Words between commas, without blanks around them and without empty ones.
std::vector<std::string> split_list(std::string_view text);
/// [a-z][a-z0-9.-]*, at most 64 bytes.
bool channel_type_ok(std::string_view type);
/// Is the address of such a channel a URL? http, https, httpvnext, httpsvnext.
bool is_http_type(std::string_view type);
/// "http://host/a,b,http": what follows the last comma is the type if it can be one; it leaves `address`. In lower case; "" if there is none.
std::string split_channel_type(std::string& address);
/// Those whose requests are envelopes: httpvnext, httpsvnext.
bool is_envelope_type(std::string_view type);
/// http(s)://HOST[:PORT][/PATH]; `wildcard` allows the hosts + and *.
bool http_url_ok(std::string_view url, bool wildcard);
/// http(s)://HOST[:PORT], as browsers name the origin of a page.
bool origin_ok(std::string_view text);
/// HH:MM-HH:MM, not the same time twice.
bool window_ok(std::string_view window);
/// `@NAME`: what a machine is called where sites are, by whose names it cannot be taken for one.
std::string key_of_machine(std::string_view name);
/// Is it the key of a machine?
inline bool is_machine_key(std::string_view key) { return key.starts_with('@'); }
/// `site 'KEY'` or `machine 'NAME'`.
std::string key_in_words(std::string_view key);
/// `site.KEY`; of a machine's key `machine.NAME`.
std::string outbox_of_site(std::string_view key);
/// The key, if `queue` is the outbox of a site or a machine.
std::optional<std::string> site_of_outbox(std::string_view queue);
/// The name of the lock of a forwarder that was given this site or machine (--to).
std::string forwarder_lock(std::string_view key);
/// sha256: and 64 hexadecimal digits.
bool fingerprint_ok(std::string_view text);

}  // namespace gw
