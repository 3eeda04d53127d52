#include "probe.hpp"

#include <unistd.h>

#include <algorithm>
#include <optional>

#include "arrivals.hpp"
#include "config.hpp"
#include "config_names.hpp"
#include "diag.hpp"
#include "envelope.hpp"
#include "envelope_upload.hpp"
#include "hash.hpp"
#include "held_sends.hpp"
#include "http_client.hpp"
#include "link.hpp"
#include "json.hpp"
#include "outbox.hpp"
#include "table.hpp"
#include "units.hpp"
#include "wire_codec.hpp"

namespace gw {
namespace {

constexpr uint64_t size_default = 64 * 1024, size_max = uint64_t{256} << 20;

Error usage(std::string text) { return Error{ExitCode::usage, 0, std::move(text)}; }

/// What one site said.
struct Report {
  const SiteConfig* site = nullptr;
  HttpAnswer answer;
  HeadLines sent;
  HeadLines in_body;               ///< httpvnext: those of the message
  std::vector<Arrival> arrivals;  ///< of the lines sent; empty: the other end cannot tell
  bool body_arrived = true;
  std::vector<std::string> other_headers;  ///< what stood beside them: a proxy's, the library's
  std::string endpoint, why;               ///< why: what is wrong or cannot be seen
  std::optional<std::string> hint;
  ExitCode code = ExitCode::ok;
};

/// Every kind of name and value that messages have.
Message probe_message(const ProbeOptions& options, const std::string& endpoint, uint64_t size) {
  Message message;
  Headers& headers = message.headers;
  headers = unrelated_headers();
  headers.set(header::message_intent, "Send");
  headers.set(header::enclosed_message_types, "Gatepost.Probe, Gatepost, Version=1.0.0.0, Culture=neutral, PublicKeyToken=null");
  headers.set(header::content_type, "text/xml");
  headers.set(header::time_sent, format_nsb_time(now_ms() * 1000));
  if (!endpoint.empty()) headers.set(header::originating_endpoint, endpoint);
  headers.set("$.diagnostics.originating.hostid", std::string(32, '0'));
  headers.set("traceparent", "00-00000000000000000000000000000001-0000000000000001-00");
  headers.set("Gatepost.Probe_Underscore", "a_b c+d%~ gr\xc3\xbcn");
  headers.set("Gatepost.Probe.Long", std::string(2000, 'x'));
  for (const std::string& text : options.headers) {
    const size_t equals = text.find('=');
    headers.set(text.substr(0, equals), text.substr(equals + 1));
  }
  std::string body(static_cast<size_t>(size), '\0');
  for (size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>((i * 167) >> 3);
  message.body = Body(std::move(body));
  return message;
}

RequestContext probe_context(const Message& message, const SiteConfig& site) {
  RequestContext context;
  context.lower_case_names = site.header_case_lower;
  context.original_version_1 = site.legacy_mode;
  context.to_machine = is_machine_key(site.key);
  const Md5 digest = md5(message.body.bytes());
  context.content_md5 = base64(std::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
  return context;
}

std::string probe_line(const SiteConfig& site) {
  return (site.header_case_lower ? to_lower(wire::probe) : std::string(wire::probe)) + ": 1" + '\0';
}

/// The head of a submit but for the call type, which every gateway refuses.
std::string probe_head(const Message& message, const SiteConfig& site) {
  std::string head = submit_head(message, probe_context(message, site));
  const std::string_view submit = ": SingleCallSubmit";
  const size_t at = head.find(std::string(submit) + '\0');
  head.replace(at + 2, submit.size() - 2, wire::probe_call_type);
  return head + probe_line(site);
}

/// The same for httpvnext, whose requests carry the message's headers in their body.
Headers probe_fields(const Message& message, const SiteConfig& site) {
  Headers fields = submit_fields(message, probe_context(message, site));
  fields.set(wire::call_type, wire::probe_call_type);
  return fields;
}

Result<std::string> sha256_of(Upload& upload) {
  constexpr size_t chunk_bytes = 64 * 1024;
  Digest digest(Digest::Kind::sha256);
  for (;;) {
    GW_TRY_ASSIGN(const std::string bytes, upload.read(chunk_bytes));
    if (bytes.empty()) break;
    digest.update(bytes);
  }
  upload.rewind();
  return hex(digest.finish());
}

HeadLines arrived_lines(const JsonValue& report) {
  HeadLines lines;
  const auto headers = report.get("headers");
  for (const JsonValue& field : headers ? headers->items() : std::vector<JsonValue>()) {
    const auto name = field.get("name"), value = field.get("value");
    if (name && value) lines.emplace_back(name->string().value_or(""), value->string().value_or(""));
  }
  return lines;
}

/// One of ours answered. What stands in the body arrives with it, or nobody can tell how much of it.
void read_report(const JsonValue& json, const std::string& body_sha256, Report& report) {
  report.endpoint = json.text_of("endpoint");
  report.arrivals = compare_heads(report.sent, arrived_lines(json));
  report.body_arrived = json.text_of("body_sha256") == body_sha256;
  report.sent.insert(report.sent.end(), report.in_body.begin(), report.in_body.end());
  report.arrivals.resize(report.sent.size(), report.body_arrived ? Arrival::same : Arrival::changed);
  if (const auto others = json.get("other_headers"))
    for (const JsonValue& name : others->items()) report.other_headers.push_back(name.string().value_or(""));
  auto any = [&](Arrival kind) { return std::find(report.arrivals.begin(), report.arrivals.end(), kind) != report.arrivals.end(); };
  if (any(Arrival::lost) || any(Arrival::changed) || !report.body_arrived) report.code = ExitCode::no;
  if (any(Arrival::lost))
    report.hint = "a proxy on the way drops headers; with nginx say 'ignore_invalid_headers off;' (and 'underscores_in_headers on;') in its server block, "
                  "or use the channel type httpvnext";
  else if (any(Arrival::lower_cased))
    report.hint = "a proxy on the way changes the case of names: Gatepost gives the names that it knows their case back (HeaderNames for your own), "
                  "an NServiceBus site accepts such messages and loses all their headers; with HAProxy use h1-case-adjust, or the channel type httpvnext";
}

std::string status_text(const HttpAnswer& answer) {
  std::string text = std::to_string(answer.status) + " " + answer.reason;
  const std::string body = shortened(printable(std::string_view(answer.body).substr(0, 200)), 100);
  return body.empty() || body == answer.reason ? text : text + ": " + body;
}

/// No report: an NServiceBus gateway, a proxy, or something else.
void judge_refusal(Report& report) {
  const HttpAnswer& answer = report.answer;
  const bool original = answer.status == 400 && answer.body.find("Invalid CallType") != std::string::npos;
  const bool lost_id = answer.status == 400 && answer.body.find("Required header 'NServiceBus.") != std::string::npos;
  if (original) {
    report.why = "an NServiceBus gateway: it got NServiceBus.Id and NServiceBus.CallType, and cannot tell what else arrived";
    report.hint = "a proxy that lower-cases names would make it lose all headers of messages without a word: look at one that was delivered";
  } else if (lost_id) {
    report.why = status_text(answer);
    report.arrivals.assign(report.sent.size(), Arrival::same);
    for (size_t i = 0; i < report.sent.size(); ++i)
      if (answer.body.find("'" + report.sent[i].first + "'") != std::string::npos) report.arrivals[i] = Arrival::lost;
    report.hint = "a proxy on the way drops the headers; with nginx say 'ignore_invalid_headers off;' in its server block, or use the channel type httpvnext";
    report.code = ExitCode::no;
  } else if (answer.status == 0) {
    report.why = answer.error;
    report.code = ExitCode::not_now;
  } else {
    report.why = status_text(answer);
    report.code = answer.status == 429 || answer.status == 503 || answer.status == 507 ? ExitCode::not_now : ExitCode::unavailable;
    if (answer.status == 413) report.hint = "a proxy or the channel takes smaller bodies only (nginx: client_max_body_size, 1m by default)";
    if (answer.status == 431) report.hint = "a proxy or the channel takes smaller headers only (nginx: large_client_header_buffers)";
    if (answer.status == 200) report.why = "200, but not from a gateway: " + status_text(answer);
  }
}

std::vector<std::string> names_of(const Report& report, Arrival kind) {
  std::vector<std::string> names;
  for (size_t i = 0; i < report.arrivals.size(); ++i)
    if (report.arrivals[i] == kind) names.push_back(report.sent[i].first);
  if (kind == Arrival::changed && !report.body_arrived) names.push_back("body");
  return names;
}

void print_json(const Report& report) {
  JsonObject object;
  object.add("site", report.site->key).add("address", report.site->address).add("channel_type", report.site->channel_type);
  if (report.answer.status != 0) object.add("status", report.answer.status);
  if (!report.endpoint.empty()) object.add("endpoint", report.endpoint);
  // Absent means unknown.
  if (!report.arrivals.empty()) {
    object.add("dropped", names_of(report, Arrival::lost)).add("lowercased", names_of(report, Arrival::lower_cased));
    object.add("changed", names_of(report, Arrival::changed)).add("other_headers", report.other_headers);
  }
  if (!report.why.empty()) object.add("reason", report.why);
  if (report.hint) object.add("hint", *report.hint);
  out(object.str() + "\n");
}

void print_report(const Report& report) {
  const std::string who = report.endpoint.empty() ? "" : ", endpoint " + report.endpoint;
  out(report.site->key + " (" + report.site->address + who + "): " +
      (!report.why.empty() ? report.why : report.code == ExitCode::ok ? "all arrives" : "not all arrives") + "\n");
  if (!report.arrivals.empty() && report.why.empty()) {
    Table table({{"HEADER"}, {"ARRIVES"}}, [](std::string_view text) { out(text); });
    for (size_t i = 0; i < report.sent.size(); ++i) table.row({report.sent[i].first, to_string(report.arrivals[i])});
    table.row({"(body)", report.body_arrived ? "same" : "changed"});
    table.flush();
    for (const std::string& name : report.other_headers) out("beside them: " + printable(name) + "\n");
  }
  if (report.hint) event(Level::warn, "probe-hint", {{"site", report.site->key}, {"hint", *report.hint}});
}

Result<Report> ask(HttpClient& client, const SiteConfig& site, LinkPtr link, const Message& message, const ForwardSettings& settings) {
  Report report;
  report.site = &site;
  HttpRequest request;
  request.url = &site.address;
  request.link = std::move(link);
  request.body = &message.body;
  std::optional<EnvelopeUpload> upload;
  std::string body_sha256;
  if (is_envelope_type(site.channel_type)) {
    const Headers fields = probe_fields(message, site);
    for (const Headers::Entry& entry : fields.entries()) report.in_body.emplace_back(entry.name, entry.value);
    upload.emplace(fields, message.body, envelope_digits(message.body.bytes()));
    GW_TRY_ASSIGN(body_sha256, sha256_of(*upload));
    request.upload = &*upload;
    request.head = (site.header_case_lower ? to_lower(envelope_head()) : envelope_head()) + probe_line(site);
  } else {
    const Sha256 digest = sha256(message.body.bytes());
    body_sha256 = hex(std::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
    request.head = probe_head(message, site);
  }
  report.sent = lines_of_head(request.head);
  request.lower_case_names = site.header_case_lower;
  request.connect_timeout_ms = settings.connect_timeout_ms;
  request.answer_timeout_ms = settings.answer_timeout_ms;
  client.start(std::move(request), nullptr);
  while (client.in_flight() > 0) client.poll(1000, [&](void*, HttpAnswer&& answer) { report.answer = std::move(answer); });
  auto json = JsonValue::parse(report.answer.body);
  const bool ours = report.answer.status == 200 && report.answer.complete && json && json->get("gatepost_probe");
  if (ours)
    read_report(*json, body_sha256, report);
  else
    judge_refusal(report);
  return report;
}

/// The worst one counts: refused, no answer, not all, all.
ExitCode worse(ExitCode a, ExitCode b) {
  for (ExitCode code : {ExitCode::unavailable, ExitCode::not_now, ExitCode::no})
    if (a == code || b == code) return code;
  return ExitCode::ok;
}

}  // namespace

Result<ExitCode> probe_sites(const ProbeOptions& options, const CommonOptions& common) {
  if (options.to.empty()) return usage("--to is required: the site to ask");
  for (const std::string& text : options.headers)
    if (const size_t equals = text.find('='); equals == std::string::npos || equals == 0)
      return usage("'" + text + "' is not a value of --header: expected NAME=VALUE");
  uint64_t size = size_default;
  if (!options.size.empty()) {
    const auto given = parse_size(options.size);
    if (!given || *given > size_max) return usage("'" + options.size + "' is not a value of --size: expected a size up to 256M");
    size = *given;
  }
  GW_TRY_ASSIGN(Config config, load_config_with_sites(common.config, common.config_given, options.sites));
  GW_TRY_ASSIGN(auto sites, resolve_links(config, options.to));
  for (const SiteConfig* site : sites)
    if (!is_http_type(site->channel_type))
      return usage(key_in_words(site->key) + " has the channel type '" + site->channel_type + "', whose program cannot tell what arrives");
  ForwardOptions forward;
  forward.endpoint = options.endpoint;
  forward.connect_timeout = options.connect_timeout;
  forward.answer_timeout = options.answer_timeout;
  forward.cacert = options.cacert;
  forward.cert = options.cert;
  forward.key = options.key;
  GW_TRY_ASSIGN(ForwardSettings settings, resolve_forward_settings(forward, config));
  GW_TRY(check_default_certificates(settings));
  GW_TRY_ASSIGN(auto client, HttpClient::create());
  const Message message = probe_message(options, settings.endpoint, size);
  ExitCode code = ExitCode::ok;
  for (const SiteConfig* site : sites) {
    GW_TRY_ASSIGN(LinkPtr link, read_link(with_default_certificates(*site, settings), config.path));
    GW_TRY_ASSIGN(const Report report, ask(*client, *site, std::move(link), message, settings));
    common.json ? print_json(report) : print_report(report);
    code = worse(code, report.code);
  }
  return code;
}

}  // namespace gw
