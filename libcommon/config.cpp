// Reads the configuration file: the tree of its text (xml_tree) against rules of elements and attributes.
#include "config.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <set>

#include "config_names.hpp"
#include "config_text.hpp"
#include "program.hpp"
#include "queue.hpp"
#include "suggest.hpp"
#include "units.hpp"
#include "xml_tree.hpp"

namespace gw {

namespace {

constexpr size_t config_bytes_max = 1 << 20;

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// ", did you mean 'x'?" goes behind what was expected, so that the form of the line stays the same.
std::string expected_one_of(std::string_view word, const std::vector<std::string>& known) {
  std::string hint = suggest(word, known);
  return ", expected " + (known.empty() ? "none" : joined(known)) + (hint.empty() ? "" : "; " + hint);
}

// --- rules of elements and attributes ---------------------------------------------------------------------------------

struct AttributeRule {
  std::string name;
  bool required;
  std::string expected;
  std::function<bool(const std::string&)> set;  // false: not what was expected
  std::function<Result<void>()> look = nullptr;  // with CheckFiles: is what the value names there? "is not there, expected a file"
};

struct ElementRule {
  std::string name;
  bool once;
  std::function<void(const XmlNode&)> read;
};

class Reader {
 public:
  Reader(Config& config, std::filesystem::path dir, Faults& faults, ConfigCheck check)
      : config_(config), dir_(std::move(dir)), faults_(faults), check_(check) {}
  void read_document(const XmlNode& root);

 private:
  int line(const XmlNode& node) const { return faults_.line_of(node.offset); }
  int line(const XmlAttribute& attribute) const { return faults_.line_of(attribute.offset); }
  static std::string tag(const XmlNode& node) { return "<" + node.name + ">"; }
  void stray_text(const XmlNode& text, const std::string& where);

  void read_attributes(const XmlNode& node, const std::vector<AttributeRule>& rules);
  void look_outside(int at, const std::string& what, const AttributeRule& rule);
  void read_children(const XmlNode& node, const std::vector<ElementRule>& rules);
  void no_children(const XmlNode& node) { read_children(node, {}); }

  AttributeRule path_rule(const char* name, std::string& into) const;
  void add_link_rules(std::vector<AttributeRule>& rules, SiteConfig& site) const;
  void check_address(const XmlNode& node, const std::string& type, const std::string& address, bool wildcard);
  void twice(const XmlNode& node, const char* name, const std::string& value, int first_line);
  void check_pair(const XmlNode& node, const char* one, const std::string& a, const char* other, const std::string& b);

  void read_gatepost(const XmlNode& root);
  void read_gateway(const XmlNode& node);
  void read_site(const XmlNode& node, bool original);
  void read_channel(const XmlNode& node);
  void read_original_channel(const XmlNode& node);
  void add_channel(const XmlNode& node, ChannelConfig channel);
  void read_client(const XmlNode& node, ChannelConfig& channel);
  void read_machine(const XmlNode& node);
  void read_queue(const XmlNode& node);
  void read_sites_and_channels(const XmlNode& node, bool original);

  void read_configuration(const XmlNode& root);
  void read_gateway_config(const XmlNode& node);
  void read_master_node_config(const XmlNode& node);
  void read_unicast_bus_config(const XmlNode& node);

  Config& config_;
  std::filesystem::path dir_;
  Faults& faults_;
  ConfigCheck check_;
};

// Values.

AttributeRule text_rule(const char* name, std::string& into, bool required = false) {
  return {name, required, "some text", [&into](const std::string& v) { return into = v, !v.empty(); }};
}

AttributeRule name_rule(const char* name, std::string& into, size_t reserve, bool required) {
  size_t most = queue_name_bytes_max - reserve;
  return {name, required,
          "1 to " + std::to_string(most) + " letters, digits, dots, underscores and dashes, not beginning with a dot or dash",
          [&into, most](const std::string& v) { return into = v, v.size() <= most && queue_name_ok(v); }};
}

AttributeRule address_rule(const char* name, std::string& into) {
  return {name, false, "QUEUE or QUEUE@MACHINE, names of letters, digits, dots, underscores and dashes", [&into](const std::string& v) {
            into = v;
            const size_t at = v.find('@');
            return queue_name_ok(v.substr(0, at)) && (at == std::string::npos || queue_name_ok(v.substr(at + 1)));
          }};
}

template <class T>
AttributeRule number_rule(const char* name, T& into, unsigned least, unsigned most) {
  return {name, false, "a number from " + std::to_string(least) + " to " + std::to_string(most),
          [&into, least, most](const std::string& v) {
            unsigned number = 0;
            auto [end, error] = std::from_chars(v.data(), v.data() + v.size(), number);
            if (error != std::errc() || end != v.data() + v.size() || number < least || number > most) return false;
            into = number;
            return true;
          }};
}

template <class T>
AttributeRule bool_rule(const char* name, T& into) {
  return {name, false, "true or false", [&into](const std::string& v) {
            std::string lower = to_lower(v);
            into = lower == "true";
            return lower == "true" || lower == "false";
          }};
}

AttributeRule duration_rule(const char* name, std::optional<int64_t>& into) {
  return {name, false, "a duration like 60s, 10m or 5d",
          [&into](const std::string& v) { return (into = parse_duration_ms(v)).has_value(); }};
}

AttributeRule rate_rule(const char* name, std::optional<uint64_t>& into) {
  return {name, false, "a rate like 10M/s", [&into](const std::string& v) { return (into = parse_rate(v)).has_value() && *into > 0; }};
}

AttributeRule size_rule(const char* name, std::optional<uint64_t>& into) {
  return {name, false, "a size like 64K or 2G", [&into](const std::string& v) { return (into = parse_size(v)).has_value(); }};
}

AttributeRule type_rule(const char* name, std::string& into, bool required) {
  return {name, required, "the name of a channel type, like http",
          [&into](const std::string& v) { return into = to_lower(v), channel_type_ok(into); },
          [&into]() -> Result<void> {
            if (is_http_type(into)) return {};
            const std::string program = "gw-channel-" + into;
            auto found = find_helper(program);
            if (found) return {};
            std::string hint = suggest(into, {"http", "https", "httpvnext", "httpsvnext", "file", "ssh"});
            return Error{ExitCode::config, 0, "has no program '" + program + "' in the libexec directory or PATH, expected one" +
                                                  (hint.empty() ? "" : "; " + hint)};
          }};
}

AttributeRule url_rule(const char* name, std::string& into) {
  return {name, false, "http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]",
          [&into](const std::string& v) { return into = v, http_url_ok(v, false); }};
}

AttributeRule list_rule(const char* name, std::vector<std::string>& into) {
  return {name, false, "names separated by commas", [&into](const std::string& v) { return !(into = split_list(v)).empty(); }};
}

AttributeRule origins_rule(const char* name, std::vector<std::string>& into) {
  return {name, false, "origins of web pages like https://shop.example, separated by commas",
          [&into](const std::string& v) { return !(into = split_list(v)).empty() && std::all_of(into.begin(), into.end(), origin_ok); }};
}

// One of two words.
AttributeRule choice_rule(const char* name, std::string no, std::string yes, std::function<void(bool)> set) {
  std::string expected = no + " or " + yes;
  return {name, false, expected, [no = std::move(no), yes = std::move(yes), set = std::move(set)](const std::string& v) {
            if (v != no && v != yes) return false;
            set(v == yes);
            return true;
          }};
}

AttributeRule ignored_rule(const char* name) {
  return {name, false, "", [](const std::string&) { return true; }};
}

// A file that must be there and can be read; a secret also must be private.
Result<void> look_at_file(const std::string& path, bool secret) {
  auto fault = [&](ExitCode code, const std::string& what) { return Error{code, 0, "('" + path + "') " + what}; };
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  const int why = errno;
  if (!file && (why == ENOENT || why == ENOTDIR)) return fault(ExitCode::config, "is not there, expected a file");
  if (!file) return fault(ExitCode::no_permission, std::string("cannot be read (") + strerrordesc_np(why) + "), expected a file that you can read");
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || S_ISDIR(info.st_mode)) return fault(ExitCode::config, "is a directory, expected a file");
  if (!secret) return {};
  const unsigned mode = info.st_mode & 07777;
  if (mode != 0400 && mode != 0440 && mode != 0600) {
    char octal[8];
    std::snprintf(octal, sizeof octal, "%04o", mode);
    return fault(ExitCode::no_permission, "has mode " + std::string(octal) + ", expected 0400, 0440 or 0600: it is a secret");
  }
  if (info.st_uid != ::geteuid() && ::geteuid() != 0)
    return fault(ExitCode::no_permission, "belongs to somebody else, expected your own file: it is a secret");
  return {};
}

bool is_secret(std::string_view attribute) {
  return attribute == "Key" || attribute == "ClientKey" || attribute == "TokenFile" || attribute == "ProxyUserFile";
}

AttributeRule Reader::path_rule(const char* name, std::string& into) const {
  return {name, false, "a file",
          [&into, this](const std::string& v) {
            if (v.empty()) return false;
            into = (dir_ / v).lexically_normal().string();
            return true;
          },
          [&into, secret = is_secret(name)] { return look_at_file(into, secret); }};
}

// The command of RetryPolicy: a bare word is looked up in PATH, as in a shell.
Result<void> look_at_command(const std::string& command) {
  auto found = find_program(command);
  if (found) return {};
  std::string why = strerrordesc_np(found.error().sys_errno);
  return Error{ExitCode::config, 0, "cannot be executed (" + why + "), expected an executable file"};
}

// Attributes of an element against its rules.

bool belongs_to_xml(std::string_view name) {
  return name == "xmlns" || name.starts_with("xmlns:") || name.starts_with("xml:") || name.starts_with("xsi:");
}

void Reader::read_attributes(const XmlNode& node, const std::vector<AttributeRule>& rules) {
  std::set<std::string> seen;
  for (const XmlAttribute& attribute : node.attributes) {
    const std::string& name = attribute.name;
    const int at = line(attribute);
    if (!seen.insert(name).second) {
      faults_.add(at, "attribute " + in_quotes(name) + " twice in " + tag(node) + ", expected it once");
      continue;
    }
    auto rule = std::find_if(rules.begin(), rules.end(), [&](const AttributeRule& r) { return r.name == name; });
    if (rule != rules.end()) {
      const std::string what = name + "=" + in_quotes(attribute.value) + " in " + tag(node);
      if (!rule->set(attribute.value))
        faults_.add(at, what + ", expected " + rule->expected);
      else if (check_ == ConfigCheck::files && rule->look)
        look_outside(at, what, *rule);
    } else if (!belongs_to_xml(name)) {
      std::vector<std::string> known;
      for (const AttributeRule& r : rules) known.push_back(r.name);
      faults_.add(at, "unknown attribute " + in_quotes(name) + " in " + tag(node) + expected_one_of(name, known));
    }
  }
  for (const AttributeRule& rule : rules)
    if (rule.required && !seen.count(rule.name))
      faults_.add(line(node), tag(node) + " without " + rule.name + ", expected " + rule.name + "=\"...\", " + rule.expected);
}

void Reader::look_outside(int at, const std::string& what, const AttributeRule& rule) {
  auto there = rule.look();
  if (there) return;
  const std::string text = what + " " + there.error().text;
  if (there.error().code == ExitCode::no_permission)
    faults_.add_permission(at, text);
  else
    faults_.add(at, text);
}

void Reader::stray_text(const XmlNode& text, const std::string& where) {
  faults_.add(line(text), "text " + in_quotes(text.value.substr(0, std::min<size_t>(text.value.find_first_of("\r\n"), 40))) + " " + where +
                              ", expected elements only");
}

void Reader::read_children(const XmlNode& node, const std::vector<ElementRule>& rules) {
  std::set<std::string> seen;
  for (const XmlNode& child : node.children) {
    if (child.kind == XmlNode::Kind::text) stray_text(child, "in " + tag(node));
    if (child.kind != XmlNode::Kind::element) continue;
    const std::string& name = child.name;
    auto rule = std::find_if(rules.begin(), rules.end(), [&](const ElementRule& r) { return r.name == name; });
    if (rule == rules.end()) {
      std::vector<std::string> known;
      for (const ElementRule& r : rules) known.push_back("<" + r.name + ">");
      faults_.add(line(child), "unknown element " + in_quotes(name) + " in " + tag(node) + expected_one_of("<" + name + ">", known));
    } else if (rule->once && !seen.insert(name).second) {
      faults_.add(line(child), tag(child) + " twice in " + tag(node) + ", expected it once");
    } else {
      rule->read(child);
    }
  }
}

// --- our format -------------------------------------------------------------------------------------------------------

void Reader::read_gatepost(const XmlNode& root) {
  read_attributes(root, {});
  read_children(root, {{"Gateway", true, [this](const XmlNode& n) { read_gateway(n); }},
                       {"Machines", true,
                        [this](const XmlNode& n) {
                          read_attributes(n, {});
                          read_children(n, {{"Machine", false, [this](const XmlNode& m) { read_machine(m); }}});
                        }},
                       {"Queue", false, [this](const XmlNode& n) { read_queue(n); }}});
}

void Reader::read_gateway(const XmlNode& node) {
  Config& c = config_;
  // Its helper queues ('.gateway', '.distributor.storage') must be names too.
  std::vector<AttributeRule> rules{name_rule("Endpoint", c.endpoint, 20, false),
                                   address_rule("ErrorQueue", c.error_queue),
                                   number_rule("Retries", c.retries, 0, 1'000'000),
                                   duration_rule("RetryIncrement", c.retry_increment_ms),
                                   choice_rule("Outages", "count", "wait", [&c](bool wait) { c.outages_wait = wait; }),
                                   duration_rule("GiveUpAfter", c.give_up_after_ms),
                                   {"RetryPolicy", false, "a command",
                                    [this](const std::string& v) {
                                      // A bare word is looked up in PATH, as in a shell.
                                      bool is_path = v.find('/') != std::string::npos;
                                      config_.retry_policy = is_path ? (dir_ / v).lexically_normal().string() : v;
                                      return !v.empty();
                                    },
                                    [this] { return look_at_command(config_.retry_policy); }},
                                   number_rule("MaxTransfers", c.max_transfers, 1, 100'000),
                                   rate_rule("Rate", c.rate_bytes),
                                   duration_rule("ConnectTimeout", c.connect_timeout_ms),
                                   duration_rule("AnswerTimeout", c.answer_timeout_ms)};
  read_attributes(node, rules);
  read_sites_and_channels(node, false);
}

void Reader::read_sites_and_channels(const XmlNode& node, bool original) {
  read_children(node, {{"Sites", true,
                        [this, original](const XmlNode& sites) {
                          read_attributes(sites, {});
                          read_children(sites, {{"Site", false, [this, original](const XmlNode& n) { read_site(n, original); }}});
                        }},
                       {"Channels", true, [this, original](const XmlNode& channels) {
                          read_attributes(channels, {});
                          read_children(channels, {{"Channel", false, [this, original](const XmlNode& n) {
                                                      original ? read_original_channel(n) : read_channel(n);
                                                    }}});
                        }}});
}

void Reader::check_address(const XmlNode& node, const std::string& type, const std::string& address, bool wildcard) {
  if (address.empty()) return;  // reported already
  if (is_http_type(type) && !http_url_ok(address, wildcard))
    faults_.add(line(*node.attribute("Address")), "Address=" + in_quotes(address) + " in " + tag(node) +
                                                            ", expected http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]");
}

void Reader::twice(const XmlNode& node, const char* name, const std::string& value, int first_line) {
  faults_.add(line(node), name + ("=" + in_quotes(value)) + " of " + tag(node) + " is in line " + std::to_string(first_line) +
                              " already, expected each " + to_lower(name) + " once");
}

void Reader::check_pair(const XmlNode& node, const char* one, const std::string& a, const char* other, const std::string& b) {
  if (a.empty() == b.empty()) return;
  const char* there = a.empty() ? other : one;
  const char* absent = a.empty() ? one : other;
  faults_.add(line(node), std::string(there) + " without " + absent + " in " + tag(node) + ", expected both or none");
}

void Reader::add_link_rules(std::vector<AttributeRule>& rules, SiteConfig& site) const {
  rules.push_back(number_rule("Concurrency", site.concurrency, 1, 1024));
  rules.push_back(rate_rule("Rate", site.rate_bytes));
  rules.push_back(
      {"Window", false, "two times of day like 22:00-05:00", [&site](const std::string& v) { return site.window = v, window_ok(v); }});
  rules.push_back(path_rule("ClientCert", site.client_cert));
  rules.push_back(path_rule("ClientKey", site.client_key));
  rules.push_back(path_rule("CaFile", site.ca_file));
  rules.push_back(path_rule("TokenFile", site.token_file));
  rules.push_back(url_rule("Proxy", site.proxy));
  rules.push_back(path_rule("ProxyUserFile", site.proxy_user_file));
  rules.push_back(text_rule("Trace", site.trace, false));
  rules.push_back(choice_rule("HeaderCase", "exact", "lower", [&site](bool lower) { site.header_case_lower = lower; }));
  rules.push_back(duration_rule("ConnectTimeout", site.connect_timeout_ms));
  rules.push_back(duration_rule("AnswerTimeout", site.answer_timeout_ms));
}

void Reader::read_site(const XmlNode& node, bool original) {
  SiteConfig site;
  site.line = line(node);
  site.legacy_mode = original;  // its default there
  std::vector<AttributeRule> rules{name_rule("Key", site.key, sizeof "site." - 1, true), text_rule("Address", site.address, true),
                                   type_rule("ChannelType", site.channel_type, original), bool_rule("LegacyMode", site.legacy_mode)};
  if (!original) {
    rules.push_back(list_rule("Groups", site.groups));
    add_link_rules(rules, site);
  }
  read_attributes(node, rules);
  no_children(node);
  check_address(node, site.channel_type, site.address, false);
  check_pair(node, "ClientCert", site.client_cert, "ClientKey", site.client_key);
  for (const SiteConfig& other : config_.sites)
    if (!site.key.empty() && other.key == site.key) return twice(node, "Key", site.key, other.line);
  config_.sites.push_back(std::move(site));
}

void Reader::read_channel(const XmlNode& node) {
  ChannelConfig c;
  read_attributes(
      node, {text_rule("Address", c.address, true), type_rule("ChannelType", c.channel_type, false), bool_rule("Default", c.is_default),
             number_rule("MaxConcurrency", c.max_concurrency, 1, 10'000), path_rule("Cert", c.cert), path_rule("Key", c.key),
             path_rule("ClientCa", c.client_ca), path_rule("TokenFile", c.token_file), size_rule("MaxBody", c.max_body),
             url_rule("ReplyToUri", c.reply_to_uri), bool_rule("WebClients", c.web_clients), text_rule("Ciphers", c.ciphers),
             origins_rule("CorsOrigins", c.cors_origins), text_rule("HeaderNames", c.header_names),
             list_rule("AllowEndpoints", c.allow_endpoints)});
  check_pair(node, "Cert", c.cert, "Key", c.key);
  read_children(node, {{"Client", false, [this, &c](const XmlNode& n) { read_client(n, c); }}});
  for (const ChannelConfig& other : config_.channels)
    if (c.is_default && other.is_default)
      faults_.add(line(*node.attribute("Default")),
                  "Default='true' of <Channel> is in line " + std::to_string(other.line) + " already, expected one default channel");
  add_channel(node, std::move(c));
}

void Reader::read_original_channel(const XmlNode& node) {
  ChannelConfig c;
  c.max_concurrency = 1;
  read_attributes(node, {text_rule("Address", c.address, true), type_rule("ChannelType", c.channel_type, true),
                         bool_rule("Default", c.is_default), number_rule("MaxConcurrency", c.max_concurrency, 1, 10'000),
                         number_rule("NumberOfWorkerThreads", c.max_concurrency, 1, 10'000)});
  no_children(node);
  add_channel(node, std::move(c));
}

// Scheme and host in any case, the last slash or not: the same requests.
bool same_address(const ChannelConfig& a, const ChannelConfig& b) {
  auto plain = [](const ChannelConfig& channel) {
    std::string text = channel.address;
    if (!is_http_type(channel.channel_type)) return text;
    const size_t slash = std::min(text.find('/', std::min(text.find("://"), text.size()) + 3), text.size());
    text = to_lower(text.substr(0, slash)) + text.substr(slash);
    return text.ends_with('/') ? text : text + "/";
  };
  return plain(a) == plain(b);
}

void Reader::add_channel(const XmlNode& node, ChannelConfig channel) {
  channel.line = line(node);
  check_address(node, channel.channel_type, channel.address, true);
  for (const ChannelConfig& other : config_.channels)
    if (!channel.address.empty() && same_address(channel, other)) return twice(node, "Address", channel.address, other.line);
  config_.channels.push_back(std::move(channel));
}

void Reader::read_client(const XmlNode& node, ChannelConfig& channel) {
  ClientConfig client;
  client.line = line(node);
  read_attributes(node, {text_rule("Name", client.name, true),
                         text_rule("San", client.san),
                         {"Fingerprint", false, "sha256: and 64 hexadecimal digits",
                          [&client](const std::string& v) { return client.fingerprint = to_lower(v), fingerprint_ok(client.fingerprint); }},
                         list_rule("AllowEndpoints", client.allow_endpoints)});
  no_children(node);
  if (client.san.empty() && client.fingerprint.empty()) faults_.add(line(node), "<Client> that no certificate can fit, expected San or Fingerprint");
  for (const ClientConfig& other : channel.clients)
    if (!client.name.empty() && other.name == client.name) return twice(node, "Name", client.name, other.line);
  channel.clients.push_back(std::move(client));
}

void Reader::read_machine(const XmlNode& node) {
  MachineConfig machine;
  machine.link.line = line(node);
  std::vector<AttributeRule> rules{name_rule("Name", machine.name, sizeof "machine." - 1, true),
                                   text_rule("Address", machine.link.address, true),
                                   type_rule("ChannelType", machine.link.channel_type, false)};
  add_link_rules(rules, machine.link);
  read_attributes(node, rules);
  no_children(node);
  check_address(node, machine.link.channel_type, machine.link.address, false);
  check_pair(node, "ClientCert", machine.link.client_cert, "ClientKey", machine.link.client_key);
  machine.link.key = key_of_machine(machine.name);
  for (const MachineConfig& other : config_.machines)
    if (!machine.name.empty() && to_lower(other.name) == to_lower(machine.name)) return twice(node, "Name", machine.name, other.link.line);
  config_.machines.push_back(std::move(machine));
}

void Reader::read_queue(const XmlNode& node) {
  QueueSection queue;
  queue.line = line(node);
  read_attributes(node, {name_rule("Name", queue.name, 0, true),
                         size_rule("MaxBytes", queue.max_bytes),
                         {"Mode", false, "file permissions in octal, like 0660", [&queue](const std::string& v) {
                            unsigned mode = 0;
                            auto [end, error] = std::from_chars(v.data(), v.data() + v.size(), mode, 8);
                            queue.mode = mode;
                            return error == std::errc() && end == v.data() + v.size() && mode <= 0777;
                          }}});
  no_children(node);
  for (const QueueSection& other : config_.queues)
    if (!queue.name.empty() && other.name == queue.name) return twice(node, "Name", queue.name, other.line);
  config_.queues.push_back(std::move(queue));
}

// --- the original's format ----------------------------------------------------------------------------------------------

// An app.config has sections of other readers; only ours are checked. A near miss of one of ours is a fault all the same.
void Reader::read_configuration(const XmlNode& root) {
  const std::vector<ElementRule> rules{{"GatewayConfig", true, [this](const XmlNode& n) { read_gateway_config(n); }},
                                       {"MasterNodeConfig", true, [this](const XmlNode& n) { read_master_node_config(n); }},
                                       {"UnicastBusConfig", true, [this](const XmlNode& n) { read_unicast_bus_config(n); }}};
  std::vector<std::string> known;
  for (const ElementRule& rule : rules) known.push_back(rule.name);
  std::set<std::string> seen;
  for (const XmlNode& child : root.children) {
    if (child.kind == XmlNode::Kind::text) stray_text(child, "in " + tag(root));
    if (child.kind != XmlNode::Kind::element) continue;
    const std::string& name = child.name;
    auto rule = std::find_if(rules.begin(), rules.end(), [&](const ElementRule& r) { return r.name == name; });
    if (rule == rules.end()) {
      if (!suggest(name, known).empty())
        faults_.add(line(child), "unknown element " + in_quotes(name) + " in " + tag(root) + expected_one_of(name, known));
    } else if (!seen.insert(name).second) {
      faults_.add(line(child), tag(child) + " twice in " + tag(root) + ", expected it once");
    } else {
      rule->read(child);
    }
  }
}

void Reader::read_gateway_config(const XmlNode& node) {
  read_attributes(node, {{"TransactionTimeout", false, "a time span like 00:01:00",
                          [](const std::string& v) { return parse_timespan_ms(v).has_value(); }}});
  read_sites_and_channels(node, true);
}

void Reader::read_master_node_config(const XmlNode& node) {
  read_attributes(node, {text_rule("Node", config_.master_node, true)});
  no_children(node);
}

void Reader::read_unicast_bus_config(const XmlNode& node) {
  read_attributes(node, {text_rule("DistributorControlAddress", config_.distributor_control_address),
                         text_rule("DistributorDataAddress", config_.distributor_data_address), ignored_rule("LocalAddress"),
                         ignored_rule("ForwardReceivedMessagesTo"), ignored_rule("TimeToBeReceivedOnForwardedMessages"),
                         ignored_rule("TimeoutManagerAddress")});
  read_children(node, {{"MessageEndpointMappings", true, [](const XmlNode&) {}}});
}

// --- the document ---------------------------------------------------------------------------------------------------------

void Reader::read_document(const XmlNode& root) {
  if (root.name == "gatepost")
    read_gatepost(root);
  else if (root.name == "configuration")
    read_configuration(root);
  else
    faults_.add(line(root), "root element " + tag(root) + expected_one_of("<" + root.name + ">", {"<gatepost>", "<configuration>"}));
}

Result<Config> parse_config(const std::string& path, const std::string& text, ConfigCheck check) {
  Config config;
  config.path = path;
  Faults faults(path, text);
  std::error_code ignored;
  std::filesystem::path dir = std::filesystem::absolute(path, ignored).parent_path();
  const XmlNode root = parse_xml(text, "<gatepost> or <configuration>", faults);
  if (!root.name.empty()) Reader(config, dir, faults, check).read_document(root);
  if (faults.any()) return faults.error();
  return config;
}

}  // namespace

Result<Config> load_config(const std::string& path, bool must_exist, ConfigCheck check) {
  auto text = read_xml_file(path, config_bytes_max);
  if (!text) {
    int why = text.error().sys_errno;
    if (!must_exist && (path.empty() || why == ENOENT || why == ENOTDIR)) {
      Config none;
      none.missing_path = path;
      return none;
    }
    return std::move(text).error();
  }
  return parse_config(path, *text, check);
}

}  // namespace gw
