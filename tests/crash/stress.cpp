// Stress of the queue through its library: producers and consumers as processes of several threads each, some killed or stopped
// at random, while a table in shared memory keeps book of what each was told. Ends with a drain and compares.
//
//   stress DIR [--seconds N] [--producers N] [--consumers N] [--threads N] [--kills PER_SECOND] [--stops PER_SECOND]
//              [--limit MESSAGES_PER_PRODUCER] [--seed N]
//
// What must hold. A put that returned is delivered; to each of its queues exactly once, as far as an ack returned; a message whose
// ack or transfer returned is never offered again in that queue; a transfer to two queues reaches both or none; bodies are whole; without kills
// each consumer thread sees the messages of each producer in the order in which they were put. Nobody hangs.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "queue.hpp"
#include "units.hpp"

extern char** environ;

namespace {

constexpr unsigned messages_per_lane_max = 200'000;
constexpr unsigned lanes_max = 64;

/// What is known of one message. Only ever counted up, by whoever was told.
struct Book {
  std::atomic<uint8_t> put_began, put_returned;
  std::atomic<uint8_t> left_began, left_returned;  // ack or transfer out of "in"
  std::atomic<uint8_t> ack_began[2], ack_returned[2];  // in "out1", "out2"
  std::atomic<uint8_t> claimed;
  std::atomic<uint32_t> seq_in, seq_out[2];  // where it was seen last
};

struct Shared {
  std::atomic<uint32_t> stop_producing, stop_consuming, faults, claims, kills;
  std::atomic<uint32_t> next[lanes_max];  // the number that each lane puts next
  Book book[];
};

struct Settings {
  std::string dir;
  unsigned seconds = 5, producers = 4, consumers = 4, threads = 4, limit = 0;
  double kills = 0, stops = 0;
  unsigned seed = 1;
};

Shared* shared = nullptr;

Book& book(unsigned lane, unsigned number) { return shared->book[static_cast<size_t>(lane) * messages_per_lane_max + number]; }

void fault(const std::string& text) {
  shared->faults.fetch_add(1);
  std::string line = "FAULT " + text + "\n";
  if (write(2, line.data(), line.size()) < 0) std::abort();
  if (std::getenv("STRESS_HALT")) kill(0, SIGKILL);  // to look at what lies there
}

Shared* map_shared(const std::string& path, bool create) {
  size_t bytes = sizeof(Shared) + sizeof(Book) * messages_per_lane_max * lanes_max;
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | (create ? O_CREAT | O_TRUNC : 0), 0600);
  if (fd < 0 || (create && ftruncate(fd, static_cast<off_t>(bytes)) != 0)) {
    std::perror(path.c_str());
    std::exit(2);
  }
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (at == MAP_FAILED) std::exit(2);
  return static_cast<Shared*>(at);
}

// --- messages --------------------------------------------------------------------------------------------------------

/// Every message says who put it; its length and filling follow from that.
std::string make_body(unsigned lane, unsigned number) {
  size_t size = number % 97 == 13 ? 70'000 + number % 1000 : 40 + number * 7 % 900;
  std::string body = std::to_string(lane) + " " + std::to_string(number) + "\n";
  body.resize(std::max(size, body.size()), static_cast<char>('a' + (lane + number) % 26));
  return body;
}

gw::Message make_message(unsigned lane, unsigned number) {
  gw::Message m;
  m.headers.set(gw::header::message_id, "m-" + std::to_string(lane) + "-" + std::to_string(number));
  m.body = gw::Body(make_body(lane, number));
  return m;
}

/// 0: acked where it is; 1: moved to out1; 2: moved to out1 and out2.
unsigned plan_of(unsigned number) { return number % 3; }

bool read_message(const gw::Claim& claim, unsigned* lane, unsigned* number) {
  auto body = claim.message().body.read_all();
  if (!body) {
    fault("body of " + claim.queue_name() + ":" + std::to_string(claim.seq()) + ": " + body.error().text);
    return false;
  }
  if (std::sscanf(body->c_str(), "%u %u\n", lane, number) != 2 || *lane >= lanes_max || *number >= messages_per_lane_max ||
      *body != make_body(*lane, *number)) {
    fault("TORN body in " + claim.queue_name() + ":" + std::to_string(claim.seq()));
    return false;
  }
  return true;
}

std::string name_of(unsigned lane, unsigned number) { return "message " + std::to_string(lane) + "/" + std::to_string(number); }

std::unique_ptr<gw::Root> open_root(const std::string& dir, bool create = false) {
  gw::RootOptions options;
  options.create = create;
  options.min_free_bytes = 1 << 20;
  auto root = gw::Root::open(dir + "/root", options);
  if (!root) {
    fault("open: " + root.error().text);
    std::exit(1);
  }
  return std::move(*root);
}

gw::Queue open_queue(gw::Root& root, const char* name) {
  auto queue = root.queue(name);
  if (!queue) {
    fault("queue: " + queue.error().text);
    std::exit(1);
  }
  return *queue;
}

// --- producers -------------------------------------------------------------------------------------------------------

/// Odd lanes name their messages, so that one that was in doubt is put again and must not double; even lanes leave it in doubt.
bool lane_has_ids(unsigned lane) { return lane % 2 == 1; }

void produce(gw::Root& root, unsigned lane, unsigned limit) {
  gw::Queue in = open_queue(root, "in");
  auto& next = shared->next[lane];
  if (!lane_has_ids(lane))
    while (next < limit && book(lane, next).put_began) next.fetch_add(1);
  while (!shared->stop_producing && next < limit) {
    unsigned number = next;
    gw::PutOptions options;
    if (lane_has_ids(lane)) {
      options.dedup.emplace();
      options.dedup->store = std::string(gw::local_dedup_store);
      options.dedup->scope = "in";
      options.dedup->id = "m-" + std::to_string(lane) + "-" + std::to_string(number);
      options.dedup->body_sha256[0] = static_cast<unsigned char>(number);
    }
    gw::Transaction t;
    t.put(in, make_message(lane, number), std::move(options));
    book(lane, number).put_began = 1;
    auto result = root.commit(std::move(t));
    if (!result) {
      fault("put of " + name_of(lane, number) + ": " + result.error().text);
      return;
    }
    if (result->puts.at(0).outcome == gw::PutOutcome::conflict) fault("conflict at " + name_of(lane, number));
    book(lane, number).put_returned = 1;
    next = number + 1;
  }
}

// --- consumers -------------------------------------------------------------------------------------------------------

struct Consumer {
  gw::Root& root;
  gw::Queue in, out1, out2;
  std::mt19937 random;
  bool check_order;
  std::map<unsigned, unsigned> last;  // per lane, of "in"

  bool chance(unsigned percent) { return random() % 100 < percent; }

  /// One message in hand: what was done with it, to be booked when its commit has returned.
  struct Step {
    enum Kind { defer, leave, ack } kind;
    unsigned lane, number, which;
  };

  /// False: given back, or not ours to know.
  bool from_in(gw::Claim claim, bool calm, gw::Transaction& t, Step& step) {
    if (!read_message(claim, &step.lane, &step.number)) return false;
    Book& b = book(step.lane, step.number);
    std::string name = name_of(step.lane, step.number);
    if (!b.put_began) fault("delivered before it was put: " + name);
    if (uint32_t before = b.seq_in.exchange(static_cast<uint32_t>(claim.seq())); before && before != claim.seq())
      fault("SECOND COPY in 'in': " + name + " :" + std::to_string(before) + " and :" + std::to_string(claim.seq()));
    if (b.left_returned) fault("DOUBLE in 'in': " + name + " :" + std::to_string(claim.seq()));
    if (check_order) {
      auto [at, fresh] = last.try_emplace(step.lane, step.number);
      if (!fresh && step.number < at->second && !b.claimed) fault("ORDER: " + name + " after " + std::to_string(at->second));
      at->second = std::max(at->second, step.number);
    }
    b.claimed = 1;
    if (!calm && chance(5)) {
      step.kind = Step::defer;
      t.defer(std::move(claim), {gw::now_ms() + 20 + static_cast<int64_t>(random() % 50), chance(50)});
      return true;
    }
    if (!calm && chance(4)) return false;  // given back
    step.kind = Step::leave;
    gw::Message copy = claim.message();
    t.ack(std::move(claim));
    unsigned plan = plan_of(step.number);
    if (plan >= 1) t.put(out1, copy);
    if (plan >= 2) t.put(out2, copy);
    b.left_began = 1;
    return true;
  }

  bool from_out(gw::Claim claim, unsigned which, gw::Transaction& t, Step& step) {
    if (!read_message(claim, &step.lane, &step.number)) return false;
    Book& b = book(step.lane, step.number);
    std::string name = name_of(step.lane, step.number), queue = "out" + std::to_string(which + 1);
    if (!b.left_began) fault("in " + queue + " before it left: " + name);
    if (plan_of(step.number) < which + 1) fault("in the wrong queue: " + name);
    if (uint32_t before = b.seq_out[which].exchange(static_cast<uint32_t>(claim.seq())); before && before != claim.seq())
      fault("SECOND COPY in " + queue + ": " + name + " :" + std::to_string(before) + " and :" + std::to_string(claim.seq()) + ", in 'in' :" +
            std::to_string(b.seq_in));
    if (b.ack_returned[which]) fault("DOUBLE in " + queue + ": " + name + " :" + std::to_string(claim.seq()));
    step.kind = Step::ack;
    step.which = which;
    t.ack(std::move(claim));
    b.ack_began[which] = 1;
    return true;
  }

  void finish(const Step& step, const gw::Result<gw::CommitResult>& done) {
    std::string name = name_of(step.lane, step.number);
    Book& b = book(step.lane, step.number);
    if (!done) {
      fault("commit of " + name + ": " + done.error().text);
      return;
    }
    if (step.kind == Step::leave && b.left_returned.exchange(1)) fault("DOUBLE departure: " + name);
    if (step.kind == Step::ack && b.ack_returned[step.which].exchange(1)) fault("DOUBLE ack: " + name);
  }

  /// True if there was anything.
  bool turn(bool calm) {
    bool any = false;
    for (unsigned q = 0; q < 3; ++q) {
      gw::Queue& queue = q == 0 ? in : q == 1 ? out1 : out2;
      auto claims = queue.claim(calm ? 64 : 1 + random() % 4);
      if (!claims) {
        fault("claim: " + claims.error().text);
        return false;
      }
      std::vector<gw::Transaction> transactions;
      std::vector<Step> steps;
      for (auto& claim : *claims) {
        any = true;
        shared->claims.fetch_add(1);
        gw::Transaction t;
        Step step{};
        if (q == 0 ? from_in(std::move(claim), calm, t, step) : from_out(std::move(claim), q - 1, t, step)) {
          transactions.push_back(std::move(t));
          steps.push_back(step);
        }
      }
      auto results = root.commit_all(std::move(transactions));
      for (size_t i = 0; i < results.size(); ++i) finish(steps[i], results[i]);
    }
    return any;
  }
};

Consumer make_consumer(gw::Root& root, unsigned seed, bool check_order) {
  return {root, open_queue(root, "in"), open_queue(root, "out1"), open_queue(root, "out2"), std::mt19937(seed), check_order, {}};
}

void consume(gw::Root& root, unsigned seed, bool check_order) {
  Consumer c = make_consumer(root, seed, check_order);
  while (!shared->stop_consuming) {
    uint32_t bell = root.bell();
    if (!c.turn(false)) root.wait(bell, 200);
  }
}

// --- the driver ------------------------------------------------------------------------------------------------------

struct Child {
  pid_t pid = -1;
  unsigned number = 0;
  bool producer = false;
  int64_t continue_at = 0;  // stopped until then
};

pid_t start_child(const Settings& s, const Child& c, unsigned generation) {
  std::vector<std::string> words = {"/proc/self/exe",
                                    s.dir,
                                    c.producer ? "--produce" : "--consume",
                                    std::to_string(c.number),
                                    "--threads",
                                    std::to_string(s.threads),
                                    "--seed",
                                    std::to_string(s.seed * 1000 + generation),
                                    "--limit",
                                    std::to_string(s.limit),
                                    "--kills",
                                    s.kills > 0 ? "1" : "0"};
  std::vector<char*> argv;
  for (auto& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  pid_t pid = -1;
  if (posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr, argv.data(), environ) != 0) {
    std::perror("posix_spawn");
    std::exit(2);
  }
  return pid;
}

int run_child(const Settings& s, bool producer, unsigned number) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  shared = map_shared(s.dir + "/book", false);
  auto root = open_root(s.dir);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < s.threads; ++i) {
    unsigned lane = number * s.threads + i;
    threads.emplace_back([&, lane] {
      if (producer) produce(*root, lane, s.limit);
      else consume(*root, s.seed * 64 + lane, s.kills == 0);
    });
  }
  for (auto& t : threads) t.join();
  return 0;
}

/// Waits for the end of a child; kills it when it hangs.
void finish_child(Child& c, int64_t deadline) {
  if (c.pid < 0) return;
  kill(c.pid, SIGCONT);
  for (;;) {
    int status = 0;
    pid_t got = waitpid(c.pid, &status, WNOHANG);
    if (got == c.pid) {
      if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fault("a process ended with status " + std::to_string(status));
      break;
    }
    if (gw::monotonic_ms() > deadline) {
      fault(std::string("a ") + (c.producer ? "producer" : "consumer") + " hangs, pid " + std::to_string(c.pid));
      kill(c.pid, SIGABRT);
      waitpid(c.pid, &status, 0);
      break;
    }
    usleep(5000);
  }
  c.pid = -1;
}

void disturb(const Settings& s, std::vector<Child>& children, std::mt19937& random, unsigned* generation) {
  const int64_t end = gw::monotonic_ms() + s.seconds * 1000;
  std::uniform_real_distribution<> uniform(0, 1);
  const double tick = 0.002;
  while (gw::monotonic_ms() < end) {
    usleep(static_cast<useconds_t>(tick * 1e6));
    for (auto& c : children)
      if (c.continue_at && gw::monotonic_ms() >= c.continue_at) {
        kill(c.pid, SIGCONT);
        c.continue_at = 0;
      }
    Child& victim = children[random() % children.size()];
    if (victim.continue_at) continue;
    if (uniform(random) < s.kills * tick) {
      kill(victim.pid, SIGKILL);
      int status = 0;
      waitpid(victim.pid, &status, 0);
      if (WIFEXITED(status) && WEXITSTATUS(status) != 0) fault("a process ended by itself with status " + std::to_string(status));
      shared->kills.fetch_add(1);
      victim.pid = start_child(s, victim, ++*generation);
    } else if (uniform(random) < s.stops * tick) {
      kill(victim.pid, SIGSTOP);
      victim.continue_at = gw::monotonic_ms() + 300;
    }
  }
  for (auto& c : children) kill(c.pid, SIGCONT);
}

void drain(gw::Root& root) {
  Consumer c = make_consumer(root, 1, false);
  const int64_t deadline = gw::monotonic_ms() + 60'000;
  for (;;) {
    uint32_t bell = root.bell();
    if (c.turn(true)) continue;
    bool empty = true;
    std::string left;
    for (auto* q : {&c.in, &c.out1, &c.out2}) {
      auto st = q->status();
      if (!st) {
        fault("status: " + st.error().text);
        return;
      }
      if (st->ready + st->claimed + st->deferred) empty = false;
      if (st->puts_total != st->ready + st->claimed + st->deferred + st->acks_total)
        left += st->name + " does not balance: put " + std::to_string(st->puts_total) + " done " + std::to_string(st->acks_total) + "; ";
      left += st->name + " " + std::to_string(st->ready) + " ready " + std::to_string(st->claimed) + " claimed " +
              std::to_string(st->deferred) + " deferred; ";
    }
    if (empty && left.find("balance") == std::string::npos) return;
    if (gw::monotonic_ms() > deadline) {
      fault("the queues do not become empty: " + left);
      return;
    }
    root.wait(bell, 100);
  }
}

struct Totals {
  uint64_t put = 0, put_in_doubt = 0, acked = 0, ack_in_doubt = 0;
};

void compare(unsigned lanes, Totals* totals) {
  for (unsigned lane = 0; lane < lanes; ++lane)
    for (unsigned n = 0; n < messages_per_lane_max && book(lane, n).put_began; ++n) {
      Book& b = book(lane, n);
      bool put = b.put_returned;
      ++(put ? totals->put : totals->put_in_doubt);
      if (!b.left_began) {
        if (put) fault("LOST: " + name_of(lane, n) + " never left 'in'");
        continue;
      }
      for (unsigned which = 0; which < plan_of(n); ++which) {
        if (b.ack_returned[which]) ++totals->acked;
        else if (b.ack_began[which]) ++totals->ack_in_doubt;
        else fault("LOST: " + name_of(lane, n) + " never reached out" + std::to_string(which + 1));
      }
      if (plan_of(n) == 0) ++(b.left_returned ? totals->acked : totals->ack_in_doubt);
    }
}

int run(Settings s) {
  if (!s.limit || s.limit > messages_per_lane_max) s.limit = messages_per_lane_max;
  if (s.producers * s.threads > lanes_max) {
    std::fprintf(stderr, "at most %u producer threads\n", lanes_max);
    return 2;
  }
  shared = map_shared(s.dir + "/book", true);
  {
    auto root = open_root(s.dir, true);
    for (const char* name : {"in", "out1", "out2"})
      if (auto made = root->create_queue(name); !made) {
        std::fprintf(stderr, "%s\n", made.error().text.c_str());
        return 2;
      }
  }
  std::mt19937 random(s.seed);
  unsigned generation = 0;
  std::vector<Child> children;
  for (unsigned i = 0; i < s.producers; ++i) children.push_back({-1, i, true, 0});
  for (unsigned i = 0; i < s.consumers; ++i) children.push_back({-1, i, false, 0});
  for (auto& c : children) c.pid = start_child(s, c, ++generation);
  disturb(s, children, random, &generation);
  const int64_t deadline = gw::monotonic_ms() + 20'000;
  shared->stop_producing = 1;
  for (auto& c : children)
    if (c.producer) finish_child(c, deadline);
  shared->stop_consuming = 1;
  for (auto& c : children) finish_child(c, deadline);

  auto root = open_root(s.dir);
  drain(*root);
  if (auto report = root->check(false); !report) fault("check: " + report.error().text);
  else
    for (auto& f : report->findings) fault("check: " + f.queue + " " + f.kind + " " + f.detail);
  Totals totals;
  compare(s.producers * s.threads, &totals);
  if (!shared->kills && totals.put_in_doubt + totals.ack_in_doubt) fault("in doubt, and nobody was killed");
  std::printf("stress: put %llu (in doubt %llu), acked %llu (in doubt %llu), claims %u, kills %u, faults %u\n",
              static_cast<unsigned long long>(totals.put), static_cast<unsigned long long>(totals.put_in_doubt),
              static_cast<unsigned long long>(totals.acked), static_cast<unsigned long long>(totals.ack_in_doubt),
              shared->claims.load(), shared->kills.load(), shared->faults.load());
  return shared->faults ? 1 : totals.put == 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings s;
  int child = 0;  // 1 producer, 2 consumer
  unsigned child_number = 0;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word.rfind("--", 0) != 0) {
      s.dir = word;
      continue;
    }
    if (++i >= argc) break;
    const char* value = argv[i];
    unsigned n = static_cast<unsigned>(std::strtoul(value, nullptr, 10));
    if (word == "--seconds") s.seconds = n;
    else if (word == "--producers") s.producers = n;
    else if (word == "--consumers") s.consumers = n;
    else if (word == "--threads") s.threads = n;
    else if (word == "--limit") s.limit = n;
    else if (word == "--seed") s.seed = n;
    else if (word == "--kills") s.kills = std::strtod(value, nullptr);
    else if (word == "--stops") s.stops = std::strtod(value, nullptr);
    else if (word == "--produce") child = 1, child_number = n;
    else if (word == "--consume") child = 2, child_number = n;
    else s.dir.clear();
  }
  if (s.dir.empty()) {
    std::fprintf(stderr, "usage: stress DIR [--seconds N] [--producers N] [--consumers N] [--threads N] [--kills R] [--stops R] [--limit N]\n");
    return 2;
  }
  if (child) return run_child(s, child == 1, child_number);
  return run(s);
}
