#include "proxy.hpp"

#include <strings.h>

#include <vector>

#include "json.hpp"

namespace gw::listen {

namespace {

bool begins_with(std::string_view name, std::string_view prefix) {
  return name.size() >= prefix.size() && ::strncasecmp(name.data(), prefix.data(), prefix.size()) == 0;
}

/// The first field that only a proxy writes, or only a gateway's sender that lost the others; "" if there is none.
std::string trace_of(const RequestHead& head) {
  for (const auto& [name, value] : head.fields)
    for (std::string_view known : {"Via", "Forwarded", "X-Forwarded-", "X-Real-IP", wire::content_md5.data()})
      if (begins_with(name, known)) return std::string(name) + ": " + std::string(value.substr(0, 100));
  return "";
}

/// What a sender has sent, rather than a proxy or a library.
bool is_senders(std::string_view name) {
  return begins_with(name, "NServiceBus") || begins_with(name, "Content-") || begins_with(name, wire::probe);
}

}  // namespace

std::string proxy_advice(const RequestHead& head) {
  for (const auto& field : head.fields)
    if (begins_with(field.first, "NServiceBus")) return "";
  const std::string trace = trace_of(head);
  if (trace.empty()) return "";
  return "no header of a gateway arrived, but '" + trace +
         "': a proxy on the way drops names with dots; with nginx say 'ignore_invalid_headers off;' in its server block, or use the channel type httpvnext";
}

bool is_probe(const RequestHead& head) { return head.find(wire::probe).has_value(); }

std::string probe_report(const RequestHead& head, const std::string& endpoint, uint64_t body_bytes, const std::string& body_sha256) {
  std::string fields;
  std::vector<std::string> others;
  for (const auto& [name, value] : head.fields) {
    if (is_senders(name))
      fields += (fields.empty() ? "" : ",") + JsonObject().add("name", name).add("value", value).str();
    else
      others.emplace_back(name);
  }
  JsonObject report;
  report.add("gatepost_probe", 1).add("endpoint", endpoint).add("http_version", head.version).add("from", head.from);
  report.add_raw("headers", "[" + fields + "]").add("other_headers", others);
  return report.add("body_bytes", body_bytes).add("body_sha256", body_sha256).str();
}

}  // namespace gw::listen
