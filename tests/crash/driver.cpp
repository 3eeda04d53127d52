// Does one kind of step with a queue again and again and says before and after each what it is about to do and what it was
// told, on stdout and as marks of the power-loss lab. `verify` reads such lines after a crash, recovers the root and compares.
//
//   driver ROOT put QUEUE FIRST COUNT [BYTES]     messages FIRST, FIRST+1, ... with bodies of BYTES
//   driver ROOT ack|defer|back QUEUE COUNT        defer counts a failed attempt
//   driver ROOT move SOURCE TARGET[,TARGET...] COUNT
//   driver ROOT fan TARGET[,TARGET...] FIRST COUNT [BYTES]
//   driver ROOT post URL QUEUE FIRST COUNT [BYTES]        over HTTP to a gw-listen; ROOT is not used
//   driver ROOT post-with-blob URL QUEUE FIRST COUNT [BYTES]   the same, each message behind a data bus property of its own
//   driver ROOT blobs QUEUE                       exit 1 if a message there lacks the property that post-with-blob sent, whole
//   driver ROOT verify EVENTS [garbage] [unordered]   exit 1 and a line for each thing that is wrong; garbage: a repair may be needed to
//                                                 be rid of files that nobody owns, and torn puts may be set aside; unordered: the
//                                                 numbers in a queue need not rise
//
// Lines: putting:Q:N put:Q:N  acking:Q:N acked:Q:N  deferring:Q:N deferred:Q:N  moving:S:T,T:N moved:S:T,T:N  fanning:T,T:N fanned:T,T:N.
// receiving:Q:N received:Q:N (never a second copy, however often).
// A step that was announced and not confirmed may have happened or not, as a whole.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "../lab/lib/mark.h"
#include "queue.hpp"
#include "units.hpp"

namespace {

void say(const std::string& line) {
  std::string text = line + "\n";
  if (write(1, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::exit(74);
  if (powerloss_mark(line.c_str()) != 0) {
    std::perror("mark");
    std::exit(2);
  }
}

int failed(const gw::Error& error) {
  std::fprintf(stderr, "driver: %s\n", error.text.c_str());
  return static_cast<int>(error.code);
}

std::vector<std::string> split(const std::string& text, char by) {
  std::vector<std::string> parts(1);
  for (char c : text)
    if (c == by) parts.emplace_back();
    else parts.back() += c;
  return parts;
}

std::string make_body(unsigned number, size_t bytes) {
  std::string body = std::to_string(number) + " " + std::to_string(bytes) + "\n";
  body.resize(std::max(body.size(), bytes), static_cast<char>('a' + number % 26));
  return body;
}

gw::Message make_message(unsigned number, size_t bytes) {
  gw::Message m;
  m.headers.set(gw::header::message_id, "m-" + std::to_string(number));
  m.body = gw::Body(make_body(number, bytes));
  return m;
}

/// The number of a message whose body is whole: made here, or just the number.
std::optional<unsigned> number_of(const std::string& body) {
  unsigned number = 0;
  size_t bytes = 0;
  if (std::sscanf(body.c_str(), "%u %zu\n", &number, &bytes) == 2 && body == make_body(number, bytes)) return number;
  if (std::sscanf(body.c_str(), "%u", &number) == 1 && (body == std::to_string(number) || body == std::to_string(number) + "\n")) return number;
  return std::nullopt;
}

gw::Result<std::optional<unsigned>> number_of(const gw::Message& message) {
  GW_TRY_ASSIGN(std::string body, message.body.read_all());
  return number_of(body);
}

// --- steps -----------------------------------------------------------------------------------------------------------

struct Steps {
  std::unique_ptr<gw::Root> root;

  gw::Result<std::vector<gw::Queue>> queues(const std::string& names) {
    std::vector<gw::Queue> all;
    for (auto& name : split(names, ',')) {
      GW_TRY_ASSIGN(gw::Queue q, root->queue(name));
      all.push_back(q);
    }
    return all;
  }

  gw::Result<void> put(const std::string& name, unsigned first, unsigned count, size_t bytes) {
    GW_TRY_ASSIGN(gw::Queue q, root->queue(name));
    for (unsigned n = first; n < first + count; ++n) {
      std::string what = name + ":" + std::to_string(n);
      say("putting:" + what);
      gw::Transaction t;
      t.put(q, make_message(n, bytes));
      GW_TRY(root->commit(std::move(t)));
      say("put:" + what);
    }
    return {};
  }

  /// ack, defer, back (given back without a commit), move, or once (a move under ids that callers chose): all begin with a claim.
  gw::Result<void> take(const std::string& step, const std::string& name, const std::string& targets, unsigned count) {
    GW_TRY_ASSIGN(gw::Queue q, root->queue(name));
    std::vector<gw::Queue> to;
    if (!targets.empty()) {
      GW_TRY_ASSIGN(to, queues(targets));
    }
    for (unsigned i = 0; i < count; ++i) {
      GW_TRY_ASSIGN(auto claims, q.claim(1));
      if (claims.empty()) return {};
      GW_TRY_ASSIGN(auto number, number_of(claims[0].message()));
      if (!number) return gw::Error{gw::ExitCode::bad_data, 0, "a torn body in '" + name + "'"};
      std::string what = name + (targets.empty() ? "" : ":" + targets) + ":" + std::to_string(*number);
      gw::Transaction t;
      if (step == "back") continue;
      gw::Message copy = claims[0].message();
      if (step == "defer") t.defer(std::move(claims[0]), {gw::now_ms() + 36'000'000, true});
      else t.ack(std::move(claims[0]));
      for (auto& target : to) {
        gw::PutOptions options;
        if (step == "once") options.dedup = gw::DedupKey{std::string(gw::local_dedup_store), target.name(), "once-" + std::to_string(*number), {}, 0};
        t.put(target, copy, std::move(options));
      }
      say((step == "ack" ? "acking:" : step == "defer" ? "deferring:" : "moving:") + what);
      GW_TRY(root->commit(std::move(t)));
      say((step == "ack" ? "acked:" : step == "defer" ? "deferred:" : "moved:") + what);
    }
    return {};
  }

  gw::Result<void> fan(const std::string& targets, unsigned first, unsigned count, size_t bytes) {
    GW_TRY_ASSIGN(auto to, queues(targets));
    for (unsigned n = first; n < first + count; ++n) {
      std::string what = targets + ":" + std::to_string(n);
      gw::Transaction t;
      for (auto& target : to) t.put(target, make_message(n, bytes));
      say("fanning:" + what);
      GW_TRY(root->commit(std::move(t)));
      say("fanned:" + what);
    }
    return {};
  }
};

// --- HTTP ------------------------------------------------------------------------------------------------------------

int connect_to(const std::string& host, unsigned port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  timeval limit{15, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
  close(fd);
  return -1;
}

constexpr size_t blob_bytes = 9000;
constexpr const char* blob_header = "NServiceBus.DataBus.K";

/// True if the answer is 200 with the body OK.
bool call(int fd, const std::string& host, const std::string& path, const std::string& fields, const std::string& body) {
  std::string request = "POST " + path + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: " +
                        std::to_string(body.size()) + "\r\nNServiceBus.Gateway: True\r\n" + fields + "\r\n" + body;
  if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) return false;
  std::string answer;
  char buffer[4096];
  for (;;) {
    size_t end = answer.find("\r\n\r\n");
    if (end != std::string::npos && answer.size() >= end + 6) return answer.rfind("HTTP/1.1 200", 0) == 0 && answer.substr(end + 4, 2) == "OK";
    ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got <= 0) return false;
    answer.append(buffer, static_cast<size_t>(got));
  }
}

bool post_one(int fd, const std::string& host, const std::string& path, unsigned number, size_t bytes, bool with_blob) {
  const std::string id = "m-" + std::to_string(number), name = std::string("NServiceBus.Header.") + blob_header;
  const std::string fields = "NServiceBus.Id: " + id + "\r\nNServiceBus.CorrelationId: " + id + "\r\nNServiceBus.Header.NServiceBus.MessageId: " + id + "\r\n";
  if (with_blob && !call(fd, host, path, fields + "NServiceBus.CallType: SingleCallDatabusProperty\r\nNServiceBus.Gateway.DataBusKey: " + name + "\r\n",
                         make_body(number, blob_bytes)))
    return false;
  return call(fd, host, path, fields + "NServiceBus.CallType: SingleCallSubmit\r\n" + (with_blob ? name + ": theirs\r\n" : ""), make_body(number, bytes));
}

int post(const std::string& url, const std::string& queue, unsigned first, unsigned count, size_t bytes, bool with_blob) {
  char host[64];
  unsigned port = 0;
  char path[256] = "/";
  if (std::sscanf(url.c_str(), "http://%63[^:/]:%u%255s", host, &port, path) < 2) return 64;
  int fd = -1, rc = 0;
  for (unsigned n = first; n < first + count; ++n) {
    std::string what = queue + ":" + std::to_string(n);
    if (fd < 0 && (fd = connect_to(host, port)) < 0) return 75;
    say("receiving:" + what);
    if (post_one(fd, host, path, n, bytes, with_blob)) {
      say("received:" + what);
      continue;
    }
    rc = 75;
    close(fd);
    fd = -1;
  }
  if (fd >= 0) close(fd);
  return rc;
}

/// Every message of the queue has its blob, readable and whole.
gw::Result<void> look_at_blobs(gw::Root& root, const std::string& name) {
  GW_TRY_ASSIGN(gw::Queue queue, root.queue(name));
  std::vector<uint64_t> seqs;
  GW_TRY(queue.scan([&](const gw::MessageInfo& info) {
    seqs.push_back(info.seq);
    return true;
  }));
  for (uint64_t seq : seqs) {
    GW_TRY_ASSIGN(auto stored, queue.read(seq));
    if (!stored) continue;
    const gw::Message& message = stored->second;
    GW_TRY_ASSIGN(auto number, number_of(message));
    const std::string path = root.path() + "/databus/" + std::string(message.headers.get(blob_header));
    std::ifstream file(path, std::ios::binary);
    const std::string blob((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (!number || blob != make_body(*number, blob_bytes))
      return gw::Error{gw::ExitCode::no, 0, "message :" + std::to_string(seq) + " of '" + name + "': its blob '" + path + "' has " + std::to_string(blob.size()) + " bytes or the wrong ones"};
  }
  return {};
}

// --- verify ----------------------------------------------------------------------------------------------------------

/// Where the copies of one message are: queue and failed attempts of each, sorted.
using Places = std::multiset<std::pair<std::string, unsigned>>;

Places without(Places places, const std::string& queue) {
  for (auto i = places.begin(); i != places.end(); ++i)
    if (i->first == queue) {
      places.erase(i);
      break;
    }
  return places;
}

Places with(Places places, const std::string& queues) {
  for (auto& q : split(queues, ',')) places.insert({q, 0});
  return places;
}

Places once_more_failed(const Places& places, const std::string& queue) {
  Places result;
  for (auto [q, failures] : places) result.insert({q, failures + (q == queue ? 1 : 0)});
  return result;
}

std::string show(const Places& places) {
  std::string text;
  for (auto& [q, failures] : places) text += (text.empty() ? "" : " and ") + q + (failures ? " failed " + std::to_string(failures) + " times" : "");
  return text.empty() ? "nowhere" : text;
}

/// All that may be true of one message; one of them must be.
struct Possible {
  std::vector<Places> worlds = {Places{}};
  std::vector<Places> next;  // if the announced step happened
};

void learn(std::map<unsigned, Possible>& all, const std::string& line) {
  auto parts = split(line, ':');
  if (parts.size() < 3) return;
  const std::string& verb = parts[0];
  Possible& p = all[static_cast<unsigned>(std::strtoul(parts.back().c_str(), nullptr, 10))];
  auto announce = [&](auto change) {
    // an earlier step that was not confirmed stays open
    p.worlds.insert(p.worlds.end(), p.next.begin(), p.next.end());
    p.next.clear();
    for (auto& w : p.worlds) p.next.push_back(change(w));
  };
  if (verb == "putting" || verb == "fanning") announce([&](const Places& w) { return with(w, parts[1]); });
  else if (verb == "receiving") {  // over HTTP, with de-duplication: never a second copy
    announce([&](const Places& w) { return w.empty() ? with(w, parts[1]) : w; });
  } else if (verb == "acking") announce([&](const Places& w) { return without(w, parts[1]); });
  else if (verb == "deferring") announce([&](const Places& w) { return once_more_failed(w, parts[1]); });
  else if (verb == "moving") announce([&](const Places& w) { return w == without(w, parts[1]) ? w : with(without(w, parts[1]), parts[2]); });
  else if (verb == "put" || verb == "fanned" || verb == "received" || verb == "acked" || verb == "deferred" || verb == "moved") {
    p.worlds = p.next;
    p.next.clear();
  }
}

int verify(const std::string& root_path, const std::string& events, bool garbage_allowed, bool ordered) {
  std::map<unsigned, Possible> expected;
  std::ifstream in(events);
  for (std::string line; std::getline(in, line);) learn(expected, line);

  gw::RootOptions options;
  options.min_free_bytes = 0;
  auto opened = gw::Root::open(root_path, options);
  if (!opened) {
    if (expected.empty() && opened.error().code == gw::ExitCode::no_input) return 0;
    bool nothing_promised = true;
    for (auto& [number, p] : expected) nothing_promised &= std::count(p.worlds.begin(), p.worlds.end(), Places{}) > 0;
    if (opened.error().code == gw::ExitCode::no_input && nothing_promised) return 0;
    std::printf("WRONG cannot open: %s\n", opened.error().text.c_str());
    return 1;
  }
  gw::Root& root = **opened;
  int wrong = 0;
  auto complain = [&](const std::string& text) {
    std::printf("WRONG %s\n", text.c_str());
    wrong = 1;
  };
  if (auto recovered = root.recover_dead_owners(); !recovered) complain("recovery: " + recovered.error().text);
  std::map<unsigned, Places> found;
  auto names = root.list_queues();
  if (!names) complain("list: " + names.error().text);
  else
    for (auto& name : *names) {
      auto queue = root.queue(name);
      if (!queue) {
        complain("queue " + name + ": " + queue.error().text);
        continue;
      }
      std::vector<gw::MessageInfo> infos;
      auto scanned = queue->scan([&](const gw::MessageInfo& info) {
        infos.push_back(info);
        return true;
      });
      if (!scanned) complain("scan of " + name + ": " + scanned.error().text);
      unsigned before = 0;
      for (auto& info : infos) {
        if (info.state == gw::MessageState::claimed) complain(name + ":" + std::to_string(info.seq) + " is still claimed");
        auto claim = queue->claim_seq(info.seq);
        if (!claim || !*claim) {
          complain(name + ":" + std::to_string(info.seq) + " cannot be claimed" + (claim ? "" : ": " + claim.error().text));
          continue;
        }
        auto number = number_of((*claim)->message());
        if (!number || !*number) {
          complain(name + ":" + std::to_string(info.seq) + " is torn" + (number ? "" : ": " + number.error().text));
          continue;
        }
        found[**number].insert({name, info.failures});
        if (ordered && **number < before) complain("order: in " + name + " " + std::to_string(**number) + " comes after " + std::to_string(before));
        before = **number;
      }
    }
  for (auto& [number, places] : found) expected[number];
  for (auto& [number, p] : expected) {
    const Places& places = found[number];
    std::vector<Places> allowed = p.worlds;
    allowed.insert(allowed.end(), p.next.begin(), p.next.end());
    if (std::find(allowed.begin(), allowed.end(), places) != allowed.end()) continue;
    std::string text = "message " + std::to_string(number) + " is in " + show(places) + ", expected in ";
    std::set<std::string> shown;
    for (auto& w : allowed)
      if (shown.insert(show(w)).second) text += (shown.size() > 1 ? ", or " : "") + show(w);
    complain(text);
  }
  if (garbage_allowed)
    if (auto repaired = root.check(true); !repaired) complain("repair: " + repaired.error().text);
  auto report = root.check(false);
  if (!report) complain("check: " + report.error().text);
  else {
    for (auto& f : report->findings)
      if (f.kind != "set-aside" || !garbage_allowed) complain("check: " + f.queue + " " + f.kind + " " + f.detail);
    for (auto& q : report->queues)
      if (q.puts_total != q.ready + q.claimed + q.deferred + q.acks_total)
        complain(q.name + " does not balance: put " + std::to_string(q.puts_total) + ", ready " + std::to_string(q.ready) + ", claimed " +
                 std::to_string(q.claimed) + ", deferred " + std::to_string(q.deferred) + ", done " + std::to_string(q.acks_total));
  }
  return wrong;
}

int run(const std::vector<std::string>& w) {
  auto number = [&](size_t i) { return i < w.size() ? static_cast<unsigned>(std::strtoul(w[i].c_str(), nullptr, 10)) : 0u; };
  size_t bytes_default = 40;
  if (w.size() >= 6 && (w[1] == "post" || w[1] == "post-with-blob"))
    return post(w[2], w[3], number(4), number(5), w.size() > 6 ? number(6) : bytes_default, w[1] != "post");
  if (w.size() >= 3 && w[1] == "verify") {
    auto has = [&](const char* word) { return std::find(w.begin() + 3, w.end(), word) != w.end(); };
    return verify(w[0], w[2], has("garbage"), !has("unordered"));
  }
  if (w.size() < 3 || (w.size() < 4 && w[1] != "blobs")) return 64;
  Steps steps;
  gw::RootOptions options;
  options.min_free_bytes = 0;
  auto root = gw::Root::open(w[0], options);
  if (!root) return failed(root.error());
  steps.root = std::move(*root);
  gw::Result<void> done = gw::Error{gw::ExitCode::usage, 0, "unknown step '" + w[1] + "'"};
  if (w[1] == "put" && w.size() >= 5) done = steps.put(w[2], number(3), number(4), w.size() > 5 ? number(5) : bytes_default);
  else if (w[1] == "fan" && w.size() >= 5) done = steps.fan(w[2], number(3), number(4), w.size() > 5 ? number(5) : bytes_default);
  else if ((w[1] == "move" || w[1] == "once") && w.size() == 5) done = steps.take(w[1], w[2], w[3], number(4));
  else if (w[1] == "blobs") done = look_at_blobs(*steps.root, w[2]);
  else if (w[1] == "ack" || w[1] == "defer" || w[1] == "back") done = steps.take(w[1], w[2], "", number(3));
  return done ? 0 : failed(done.error());
}

}  // namespace

int main(int argc, char** argv) { return run(std::vector<std::string>(argv + 1, argv + argc)); }
