// Speed of the queue and of the tools, each beside its own floor, measured in turns in the same run.
//
//   bench DIR BINDIR [--long] [NAME...]     DIR: scratch on the file system in question; BINDIR: where the tools are
//
// Prints a row per measurement: what, ours per second, the floor per second, the ratio, the goal. Each number is the median of
// several rounds; in every round the floor and ours come right after each other.
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "queue.hpp"

extern char** environ;

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t body_bytes = 1024;

struct Settings {
  std::string dir, bin, self;
  bool long_run = false;
  std::vector<std::string> names;
  unsigned rounds = 5;
};

[[noreturn]] void die(const std::string& text) {
  std::fprintf(stderr, "bench: %s\n", text.c_str());
  std::exit(2);
}

template <class T>
T must(gw::Result<T> result, const char* what) {
  if (!result) die(std::string(what) + ": " + result.error().text);
  return std::move(*result);
}

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::string short_number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, v >= 1e6 ? "%.2fM" : v >= 1e4 ? "%.1fk" : v >= 100 ? "%.0f" : "%.2f",
                v >= 1e6 ? v / 1e6 : v >= 1e4 ? v / 1e3 : v);
  return text;
}

void heading() {
  std::printf("%-46s %10s %10s %7s  %-9s %s\n", "measured (per second)", "ours", "floor", "ratio", "goal", "the floor is");
}

/// `goal` 0: none.
void row(const std::string& what, double ours, double floor, double goal, const char* floor_text) {
  char goal_text[32] = "";
  double ratio = floor > 0 ? ours / floor : 0;
  if (goal > 0) std::snprintf(goal_text, sizeof goal_text, ">=%.2f %s", goal, ratio >= goal ? "ok" : "NO");
  std::printf("%-46s %10s %10s %7.2f  %-9s %s\n", what.c_str(), short_number(ours).c_str(), short_number(floor).c_str(), ratio, goal_text,
              floor_text);
  std::fflush(stdout);
}

struct Pair {
  double ours, floor;
};

/// Runs floor and ours in turns; each gives a rate.
Pair in_turns(const Settings& s, const std::function<double()>& floor, const std::function<double()>& ours) {
  std::vector<double> a, b;
  for (unsigned i = 0; i < s.rounds; ++i) {
    a.push_back(floor());
    b.push_back(ours());
  }
  return {median(b), median(a)};
}

gw::Message sample_message(uint64_t n) {
  gw::Message m;
  m.headers.set(gw::header::message_id, "6b1c2f0e-0000-4000-8000-" + std::to_string(100000000000 + n));
  m.headers.set(gw::header::enclosed_message_types, "Prices.PriceUpdated");
  m.headers.set(gw::header::content_type, "text/plain");
  m.headers.set(gw::header::message_intent, "Send");
  m.headers.set(gw::header::time_sent, "2026-11-21 22:00:03:412000 Z");
  m.body = gw::Body(std::string(body_bytes, 'x'));
  return m;
}

/// What a floor writes for one message: the same headers and body.
std::string sample_bytes() {
  gw::Message m = sample_message(0);
  return gw::encode_headers(m.headers) + m.body.bytes();
}

std::unique_ptr<gw::Root> open_root(const Settings& s, const char* name) {
  gw::RootOptions options;
  options.create = true;
  options.min_free_bytes = 1 << 20;
  return must(gw::Root::open(s.dir + "/" + name, options), "open");
}

void put_many(gw::Root& root, const gw::Queue& q, uint64_t count, size_t batch) {
  for (uint64_t done = 0; done < count;) {
    std::vector<gw::Transaction> ts;
    for (; ts.size() < batch && done < count; ++done) {
      ts.emplace_back();
      ts.back().put(q, sample_message(done));
    }
    for (auto& r : root.commit_all(std::move(ts)))
      if (!r) die("put: " + r.error().text);
  }
}

/// Takes until `count` are acked; `batch` per commit.
void take_many(gw::Root& root, gw::Queue& q, uint64_t count, size_t batch) {
  for (uint64_t done = 0; done < count;) {
    auto claims = must(q.claim(std::min<uint64_t>(batch, count - done)), "claim");
    if (claims.empty()) die("the queue is empty too early");
    std::vector<gw::Transaction> ts;
    for (auto& c : claims) {
      ts.emplace_back();
      ts.back().ack(std::move(c));
      ++done;
    }
    for (auto& r : root.commit_all(std::move(ts)))
      if (!r) die("ack: " + r.error().text);
  }
}

// --- floors ----------------------------------------------------------------------------------------------------------

struct File {
  int fd;
  explicit File(const std::string& path, int flags = O_RDWR | O_CREAT | O_TRUNC) : fd(open(path.c_str(), flags | O_CLOEXEC, 0600)) {
    if (fd < 0) die("open " + path);
  }
  ~File() { close(fd); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
};

void write_all(int fd, std::string_view bytes) {
  if (write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) die("write");
}

/// Appends `count` messages, a sync for every `batch`. `written_before`: into space that was filled and synced.
double append_rate(const std::string& path, unsigned count, unsigned batch, bool written_before) {
  std::string bytes = sample_bytes();
  File f(path);
  if (written_before) {
    std::string zeros(bytes.size(), 0);
    for (unsigned i = 0; i < count; ++i) write_all(f.fd, zeros);
    if (fsync(f.fd) != 0 || lseek(f.fd, 0, SEEK_SET) != 0) die("fsync");
  }
  auto begin = Clock::now();
  for (unsigned i = 0; i < count; ++i) {
    write_all(f.fd, bytes);
    if ((i + 1) % batch == 0 && fdatasync(f.fd) != 0) die("fdatasync");
  }
  return count / seconds_since(begin);
}

/// Reads `count` messages in turn and syncs 8 written bytes for every `batch`.
double read_and_mark_rate(const std::string& path, unsigned count, unsigned batch) {
  std::string bytes = sample_bytes();
  File f(path);
  for (unsigned i = 0; i < count; ++i) write_all(f.fd, bytes);
  File marks(path + ".marks");
  std::string zeros(65536, 0);
  write_all(marks.fd, zeros);
  if (fsync(f.fd) != 0 || fsync(marks.fd) != 0) die("fsync");
  std::string buffer(bytes.size() * batch, 0);
  auto begin = Clock::now();
  for (unsigned i = 0; i < count; i += batch) {
    if (pread(f.fd, buffer.data(), buffer.size(), static_cast<off_t>(i * bytes.size())) <= 0) die("read");
    uint64_t mark = i;
    if (pwrite(marks.fd, &mark, 8, i % 65536 / 8 * 8) != 8 || fdatasync(marks.fd) != 0) die("mark");
  }
  return count / seconds_since(begin);
}

double threads_append_rate(const std::string& path, unsigned threads, unsigned count) {
  std::vector<std::thread> all;
  std::vector<std::unique_ptr<File>> files;
  for (unsigned i = 0; i < threads; ++i) files.push_back(std::make_unique<File>(path + std::to_string(i)));
  std::string bytes = sample_bytes();
  auto begin = Clock::now();
  for (unsigned i = 0; i < threads; ++i)
    all.emplace_back([&, i] {
      for (unsigned k = 0; k < count; ++k) {
        write_all(files[i]->fd, bytes);
        if (fdatasync(files[i]->fd) != 0) die("fdatasync");
      }
    });
  for (auto& t : all) t.join();
  return threads * count / seconds_since(begin);
}

// --- processes -------------------------------------------------------------------------------------------------------

pid_t spawn(const std::vector<std::string>& words, int out_fd = -1, int in_fd = -1) {
  std::vector<char*> argv;
  for (auto& w : words) argv.push_back(const_cast<char*>(w.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (out_fd >= 0) posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
  if (in_fd >= 0) posix_spawn_file_actions_adddup2(&actions, in_fd, 0);
  pid_t pid = -1;
  int error = posix_spawn(&pid, words[0].c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error) die("cannot start " + words[0] + ": " + std::strerror(error));
  return pid;
}

void join(pid_t pid, const char* what, int expected = 0) {
  int status = 0;
  if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != expected)
    die(std::string(what) + " ended with status " + std::to_string(status));
}

void run_tool(const std::vector<std::string>& words, int out_fd = -1, int in_fd = -1) { join(spawn(words, out_fd, in_fd), words[0].c_str()); }

/// A child of this program that puts when its stdin is closed.
int put_child(const Settings& s, unsigned count) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  auto root = open_root(s, "many");
  auto q = must(root->queue("q"), "queue");
  put_many(*root, q, 1, 1);  // everything is open
  if (write(1, "r", 1) != 1) return 1;
  char c = 0;
  if (read(0, &c, 1) != 0) return 1;
  put_many(*root, q, count, 1);
  return 0;
}

double processes_put_rate(const Settings& s, unsigned processes, unsigned count) {
  int go[2], ready[2];
  if (pipe2(go, O_CLOEXEC) != 0 || pipe2(ready, O_CLOEXEC) != 0) die("pipe");
  std::vector<pid_t> pids;
  for (unsigned i = 0; i < processes; ++i)
    pids.push_back(spawn({s.self, s.dir, s.bin, "--put-child", std::to_string(count)}, ready[1], go[0]));
  close(ready[1]);
  close(go[0]);
  char c = 0;
  for (unsigned i = 0; i < processes; ++i)
    if (read(ready[0], &c, 1) != 1) die("a putting process did not start");
  auto begin = Clock::now();
  close(go[1]);
  for (pid_t p : pids) join(p, "a putting process");
  double rate = processes * count / seconds_since(begin);
  close(ready[0]);
  return rate;
}

/// Starts `words` `count` times, one after the other; starts per second.
double start_rate(const std::vector<std::string>& words, unsigned count, int out_fd) {
  auto begin = Clock::now();
  for (unsigned i = 0; i < count; ++i) run_tool(words, out_fd);
  return count / seconds_since(begin);
}

long peak_rss_kib(pid_t pid) {
  FILE* f = std::fopen(("/proc/" + std::to_string(pid) + "/status").c_str(), "r");
  char line[256];
  long kib = 0;
  while (f && std::fgets(line, sizeof line, f)) std::sscanf(line, "VmHWM: %ld kB", &kib);
  if (f) std::fclose(f);
  return kib;
}

// --- the measurements ------------------------------------------------------------------------------------------------

void bench_single(const Settings& s) {
  auto root = open_root(s, "single");
  auto q = must(root->create_queue("q"), "create");
  const unsigned n = s.long_run ? 10'000 : 2'000;
  auto ours = [&] {
    auto begin = Clock::now();
    put_many(*root, q, n, 1);
    return n / seconds_since(begin);
  };
  Pair fresh = in_turns(s, [&] { return append_rate(s.dir + "/floor", n, 1, false); }, ours);
  row("put, one at a time", fresh.ours, fresh.floor, 0.85, "write + fdatasync, appending");
  Pair old = in_turns(s, [&] { return append_rate(s.dir + "/floor", n, 1, true); }, ours);
  row("  the same", old.ours, old.floor, 0, "write + fdatasync in space written before");
  Pair ack = in_turns(s, [&] { return read_and_mark_rate(s.dir + "/floor", n, 1); },
                      [&] {
                        auto begin = Clock::now();
                        take_many(*root, q, n, 1);
                        return n / seconds_since(begin);
                      });
  row("take + ack, one at a time", ack.ours, ack.floor, 0.83, "read, write 8 bytes + fdatasync");
}

void bench_stream(const Settings& s) {
  auto root = open_root(s, "stream");
  auto q = must(root->create_queue("q"), "create");
  const unsigned n = s.long_run ? 256'000 : 32'000;
  Pair put = in_turns(s, [&] { return append_rate(s.dir + "/floor", n, 64, false); },
                      [&] {
                        auto begin = Clock::now();
                        put_many(*root, q, n, 64);
                        return n / seconds_since(begin);
                      });
  row("put, 64 per sync", put.ours, put.floor, 0.5, "64 writes + fdatasync, appending");
  Pair take = in_turns(s, [&] { return read_and_mark_rate(s.dir + "/floor", n, 64); },
                       [&] {
                         auto begin = Clock::now();
                         take_many(*root, q, n, 64);
                         return n / seconds_since(begin);
                       });
  row("take + ack, 64 per sync", take.ours, take.floor, 0, "read 64, write 8 bytes + fdatasync");
  row("  the same, against 100,000/s", take.ours, 100'000, 1.0, "100,000 per second");
}

void bench_processes(const Settings& s) {
  {
    auto root = open_root(s, "many");
    must(root->create_queue("q"), "create");
  }
  const unsigned n = s.long_run ? 4'000 : 600;
  Pair p = in_turns(s, [&] { return threads_append_rate(s.dir + "/floor", 16, n); }, [&] { return processes_put_rate(s, 16, n); });
  row("put, 16 processes at once", p.ours, p.floor, 0.5, "16 threads, write + fdatasync, own files");
  Pair one = in_turns(s, [&] { return processes_put_rate(s, 1, n * 4); }, [&] { return processes_put_rate(s, 16, n); });
  row("  the same, against one process", one.ours, one.floor, 7.0, "1 process putting");
}

void bench_start(const Settings& s) {
  std::string root_dir = s.dir + "/start", body = s.dir + "/body";
  {
    File f(body);
    write_all(f.fd, std::string(body_bytes, 'x'));
  }
  std::string tool = s.bin + "/bin/queue-inspect";
  if (access(tool.c_str(), X_OK) != 0) return;
  run_tool({tool, "--root", root_dir, "create", "q"});
  File null("/dev/null", O_WRONLY);
  const unsigned n = s.long_run ? 1'000 : 200;
  std::string floor_file = s.dir + "/floor";
  {
    File f(floor_file);
    write_all(f.fd, std::string(body_bytes, 'x'));
    fsync(f.fd);
  }
  auto put = [&] { return start_rate({tool, "--root", root_dir, "put", "q", body}, n, null.fd); };
  auto against = [&](const char* name, const std::string& program, double goal, const char* what) {
    if (access(program.c_str(), X_OK) != 0) return;
    Pair p = in_turns(s, [&] { return start_rate({program, floor_file}, n, null.fd); }, put);
    row(name, p.ours, p.floor, goal, what);
    std::printf("%-46s %8.2fms %8.2fms\n", "  milliseconds each", 1000 / p.ours, 1000 / p.floor);
  };
  against("queue-inspect put, one message per start", s.dir + "/floor_plain", 1 / 1.2, "an empty C++ program (g++ -O2) + one fdatasync");
  against("  the same", s.bin + "/test-bin/floor_start", 0, "the same program linked statically, as our tools");
}

/// Rates with few and with many messages waiting.
void bench_backlog(const Settings& s) {
  const unsigned few = 1'000, many = s.long_run ? 1'000'000 : 100'000, n = s.long_run ? 4'000 : 1'000;
  auto small = open_root(s, "few"), large = open_root(s, "backlog");
  auto sq = must(small->create_queue("q"), "create"), lq = must(large->create_queue("q"), "create");
  put_many(*small, sq, few, 64);
  put_many(*large, lq, many, 256);
  auto put = [&](gw::Root& root, const gw::Queue& q) {
    auto begin = Clock::now();
    put_many(root, q, n, 1);
    return n / seconds_since(begin);
  };
  auto take = [&](gw::Root& root, gw::Queue& q) {
    auto begin = Clock::now();
    take_many(root, q, n, 1);
    return n / seconds_since(begin);
  };
  std::string text = short_number(many) + " waiting";
  Pair p = in_turns(s, [&] { return put(*small, sq); }, [&] { return put(*large, lq); });
  row("put with " + text, p.ours, p.floor, 0.9, "the same with 1000 waiting");
  Pair t = in_turns(s, [&] { return take(*small, sq); }, [&] { return take(*large, lq); });
  row("take + ack with " + text, t.ours, t.floor, 0.9, "the same with 1000 waiting");
}

std::string rss_after(const Settings& s, const char* name) {
  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) die("pipe");
  pid_t pid = spawn({s.self, s.dir, s.bin, "--rss-child", name}, out[1]);
  close(out[1]);
  char text[64] = "";
  if (read(out[0], text, sizeof text - 1) <= 0) die("no answer from the memory probe");
  close(out[0]);
  join(pid, "the memory probe");
  return text;
}

int rss_child(const Settings& s, const char* name) {
  auto root = open_root(s, name);
  auto q = must(root->queue("q"), "queue");
  take_many(*root, q, 500, 64);
  put_many(*root, q, 500, 64);
  std::printf("%ld", peak_rss_kib(getpid()));
  return 0;
}

/// Needs the roots that bench_backlog left.
void bench_memory(const Settings& s) {
  if (access((s.dir + "/backlog").c_str(), R_OK) != 0) return;
  double few = std::atof(rss_after(s, "few").c_str()), many = std::atof(rss_after(s, "backlog").c_str());
  std::printf("%-46s %7.1fMiB %7.1fMiB %7.2f  %-9s %s\n", "resident memory with a backlog", many / 1024, few / 1024, many / few,
              many <= few * 1.1 + 1024 ? "flat ok" : "flat NO", "the same with 1000 waiting");
}

// --- the gateway -----------------------------------------------------------------------------------------------------

struct Listening {
  pid_t pid = -1;
  std::string url;
};

Listening start_ready(const std::vector<std::string>& words) {
  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) die("pipe");
  pid_t pid = spawn(words, out[1]);
  close(out[1]);
  std::string line;
  char c = 0;
  while (read(out[0], &c, 1) == 1 && c != '\n') line += c;
  // the pipe stays open: the program may write more
  if (line.rfind("ready ", 0) != 0) die(words[0] + " did not become ready: " + line);
  return {pid, line.substr(6)};
}

void stop(Listening& l) {
  kill(l.pid, SIGTERM);
  int status = 0;
  waitpid(l.pid, &status, 0);
}

void fill_outbox(const Settings& s, const std::string& root_dir, const std::string& config, unsigned count) {
  std::string lines = s.dir + "/lines";
  {
    File f(lines);
    std::string line(body_bytes, 'x'), all;
    line.back() = '\n';
    for (unsigned i = 0; i < count; ++i) {
      all += line;
      if (all.size() > 1 << 20 || i + 1 == count) {
        write_all(f.fd, all);
        all.clear();
      }
    }
  }
  File null("/dev/null", O_WRONLY);
  run_tool({s.bin + "/bin/gw-send", "-q", "--root", root_dir, "--config", config, "--to", "Store", "--lines", lines}, null.fd);
}

double forward_rate(const Settings& s, const std::string& root_dir, const std::string& config, unsigned count) {
  auto begin = Clock::now();
  run_tool({s.bin + "/bin/gw-send", "-q", "--root", root_dir, "--config", config, "forward", "--drain"}, File("/dev/null", O_WRONLY).fd);
  return count / seconds_since(begin);
}

/// Forwards while a long backlog waits, and says how fast the first `count` went.
double forward_some_rate(const Settings& s, const std::string& root_dir, const std::string& config, const std::string& receiver_root,
                         unsigned count) {
  auto root = open_root(s, receiver_root.c_str());
  auto q = must(root->queue("HQ"), "queue");
  auto total = [&] { return must(q.status(), "status").puts_total; };
  uint64_t before = total();
  auto forward = start_ready({s.bin + "/bin/gw-send", "-q", "--root", root_dir, "--config", config, "forward"});
  while (total() < before + count / 4) usleep(1000);
  uint64_t from = total();
  auto begin = Clock::now();
  while (total() < from + count) usleep(1000);
  double rate = static_cast<double>(total() - from) / seconds_since(begin);
  stop(forward);
  return rate;
}

/// A receiver, a sender's root and configuration for it, and the floor's server: with TLS if `certs` names a directory.
class Gateway {
 public:
  Gateway(const Settings& s, const std::string& name, unsigned count, const std::string& certs)
      : s_(s), count_(count), certs_(certs), send_root_(s.dir + "/send" + name), config_(s.dir + "/config" + name + ".xml") {
    const bool tls = !certs.empty();
    std::string site, channel;
    if (tls) {
      channel = " Cert=\"" + certs + "/server.pem\" Key=\"" + certs + "/server.pem\" ClientCa=\"" + certs + "/ca.pem\"";
      site = " CaFile=\"" + certs + "/ca.pem\" ClientCert=\"" + certs + "/client.pem\" ClientKey=\"" + certs + "/client.pem\"";
    }
    const std::string receiver = s.dir + "/receiver" + name + ".xml";
    write_all(File(receiver).fd, std::string("<gatepost><Gateway Endpoint=\"HQ\"><Channels><Channel Address=\"http") + (tls ? "s" : "") +
                                     "://127.0.0.1:0/HQ/\"" + channel + "/></Channels></Gateway></gatepost>\n");
    listen_ = start_ready({s.bin + "/bin/gw-listen", "--root", s.dir + "/receive" + name, "--config", receiver, "-q"});
    write_all(File(config_).fd, "<gatepost><Gateway Endpoint=\"Bench\" MaxTransfers=\"64\"><Sites><Site Key=\"Store\" Address=\"" + listen_.url +
                                    "\" Concurrency=\"64\"" + site + "/></Sites></Gateway></gatepost>\n");
    std::vector<std::string> serve{floor_tool(), "serve"};
    if (tls) serve.push_back(certs);
    server_ = start_ready(serve);
  }
  ~Gateway() {
    stop(server_);
    stop(listen_);
  }
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  double ours() const {
    fill_outbox(s_, send_root_, config_, count_);
    return forward_rate(s_, send_root_, config_, count_);
  }
  double floor() const {
    int out[2];
    if (pipe2(out, O_CLOEXEC) != 0) die("pipe");
    std::vector<std::string> words{floor_tool(), "post", server_.url, "64", std::to_string(count_)};
    if (!certs_.empty()) words.push_back(certs_);
    run_tool(words, out[1]);
    char text[64] = "";
    if (read(out[0], text, sizeof text - 1) <= 0) die("no answer from the floor");
    close(out[0]);
    close(out[1]);
    return std::atof(text);
  }
  const std::string& config() const { return config_; }
  void show_memory() const {
    std::printf("%-46s %7.1fMiB\n", "  resident memory of gw-listen, peak", static_cast<double>(peak_rss_kib(listen_.pid)) / 1024);
  }

 private:
  std::string floor_tool() const { return s_.bin + "/test-bin/http_floor"; }

  const Settings& s_;
  unsigned count_;
  std::string certs_, send_root_, config_;
  Listening listen_, server_;
};

void bench_gateway(const Settings& s) {
  for (const char* name : {"/bin/gw-send", "/bin/gw-listen"})
    if (access((s.bin + name).c_str(), X_OK) != 0) {
      std::printf("gateway: left out, there is no %s%s\n", s.bin.c_str(), name);
      return;
    }
  const unsigned n = s.long_run ? 20'000 : 6'000;
  Gateway plain(s, "", n, "");
  Pair p = in_turns(s, [&] { return plain.floor(); }, [&] { return plain.ours(); });
  row("gateway end to end, 64 in flight", p.ours, p.floor, 0.5, "curl multi to an empty CivetWeb handler");
  plain.show_memory();
  const std::string certs = s.dir + "/certs";  // made by the script that starts this program
  if (access((certs + "/ca.pem").c_str(), R_OK) == 0) {
    Gateway tls(s, "-tls", n, certs);
    Pair t = in_turns(s, [&] { return tls.floor(); }, [&] { return tls.ours(); });
    row("gateway with TLS, both with a certificate", t.ours, t.floor, 0.5, "curl multi, the same certificates, empty handler");
    tls.show_memory();
    Pair cost = in_turns(s, [&] { return plain.ours(); }, [&] { return tls.ours(); });
    row("  the same, against no TLS", cost.ours, cost.floor, 0, "the gateway end to end without TLS");
  } else {
    std::printf("gateway with TLS: left out, there are no certificates in %s\n", certs.c_str());
  }
  if (s.long_run) {
    const unsigned some = 10'000;
    auto rate = [&](unsigned waiting) {
      std::string root_dir = s.dir + "/send-" + std::to_string(waiting);
      fill_outbox(s, root_dir, plain.config(), waiting);
      return forward_some_rate(s, root_dir, plain.config(), "receive", some);
    };
    double few = rate(30'000), many = rate(1'000'000);
    row("gateway with 1,000,000 waiting", many, few, 0.9, "the same with 30,000 waiting");
  }
}

// --- workers -----------------------------------------------------------------------------------------------------------

/// A streaming handler in frames that does nothing; after `limit` answers it tells its worker to stop.
int answer_child(unsigned limit) {
  std::string in;
  char block[65536];
  unsigned answered = 0;
  auto number_behind = [&](size_t from, const char* name) { return std::strtoull(in.c_str() + in.find(name, from) + std::strlen(name), nullptr, 10); };
  for (ssize_t n; (n = read(0, block, sizeof block)) > 0;) {
    in.append(block, static_cast<size_t>(n));
    std::string out;
    size_t at = 0;
    while (in.size() - at >= 4) {
      size_t head = 0;
      for (size_t i = 0; i < 4; ++i) head = head << 8 | static_cast<unsigned char>(in[at + i]);
      if (in.size() - at < 4 + head + body_bytes) break;  // all bodies here have this size
      out += "{\"seq\":" + std::to_string(number_behind(at + 4, "\"seq\":")) + ",\"result\":\"ok\"}\n";
      at += 4 + head + body_bytes;
      if (++answered == limit) kill(getppid(), SIGTERM);
    }
    in.erase(0, at);
    for (std::string_view rest = out; !rest.empty();) {
      ssize_t written = write(1, rest.data(), rest.size());
      if (written < 0) return 1;
      rest.remove_prefix(static_cast<size_t>(written));
    }
  }
  return 0;
}

/// Messages per second through `distributor worker`; the start of both processes counts.
double worker_rate(const Settings& s, const std::string& root, gw::Queue& q, const std::vector<std::string>& how) {
  const uint64_t before = must(q.status(), "status").acks_total;
  std::vector<std::string> words{s.bin + "/bin/distributor", "worker", "--root", s.dir + "/" + root, "--queue", q.name(), "-q"};
  words.insert(words.end(), how.begin(), how.end());
  const int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
  auto begin = Clock::now();
  run_tool(words, null_fd);
  const double seconds = seconds_since(begin);
  close(null_fd);
  return static_cast<double>(must(q.status(), "status").acks_total - before) / seconds;
}

std::vector<std::string> streaming(const Settings& s, const char* capacity, unsigned limit = 0) {
  return {"--stream=binary", "--capacity", capacity, "--", s.self, s.dir, s.bin, "--answer-child", std::to_string(limit)};
}

void bench_worker_stream(const Settings& s, gw::Root& root, gw::Queue& q) {
  const unsigned n = s.long_run ? 200'000 : 40'000;
  for (const char* capacity : {"64", "256", "1000"}) {
    const auto batch = static_cast<size_t>(std::atoi(capacity));
    auto floor = [&] {
      put_many(root, q, n, 256);
      auto begin = Clock::now();
      take_many(root, q, n, batch);
      return n / seconds_since(begin);
    };
    auto ours = [&] {
      put_many(root, q, n, 256);
      auto how = streaming(s, capacity);
      how.insert(how.begin(), "--drain");
      return worker_rate(s, "worker", q, how);
    };
    Pair p = in_turns(s, floor, ours);
    row("worker --stream, capacity " + std::string(capacity), p.ours, p.floor, 0, "take + ack, as many per sync");
    row("  the same, against 20,000/s", p.ours, 20'000, 1.0, "20,000 per second");
  }
}

void bench_worker(const Settings& s) {
  auto root = open_root(s, "worker");
  auto q = must(root->create_queue("q"), "create");
  bench_worker_stream(s, *root, q);

  const unsigned jobs = s.long_run ? 5'000 : 500;
  const std::string list = s.dir + "/jobs";
  {
    File file(list);
    std::string text;
    for (unsigned i = 0; i < jobs; ++i) text += std::to_string(i) + "\n";
    write_all(file.fd, text);
  }
  auto processes = [&] {
    put_many(*root, q, jobs, 256);
    return worker_rate(s, "worker", q, {"--drain", "--capacity", "4", "--", "true"});
  };
  if (system("command -v parallel >/dev/null 2>&1") == 0) {
    Pair p = in_turns(s,
                      [&] {
                        auto begin = Clock::now();
                        run_tool({"/bin/sh", "-c", "parallel -j4 true <\"$0\" >/dev/null 2>&1", list});
                        return jobs / seconds_since(begin);
                      },
                      processes);
    row("worker, a process per message, 4 at once", p.ours, p.floor, 1.0, "GNU parallel -j4 on the same job, nothing durable");
  } else {
    std::printf("worker, a process per message: skipped, GNU parallel is not installed\n");
  }

  const unsigned many = s.long_run ? 1'000'000 : 100'000, some = s.long_run ? 50'000 : 10'000;
  auto small = open_root(s, "worker-few"), large = open_root(s, "worker-many");
  auto sq = must(small->create_queue("q"), "create"), lq = must(large->create_queue("q"), "create");
  put_many(*large, lq, many, 256);
  Pair p = in_turns(s,
                    [&] {
                      put_many(*small, sq, some + 2'000, 256);
                      return worker_rate(s, "worker-few", sq, streaming(s, "256", some));
                    },
                    [&] {
                      put_many(*large, lq, some, 256);
                      return worker_rate(s, "worker-many", lq, streaming(s, "256", some));
                    });
  row("worker --stream with " + short_number(many) + " waiting", p.ours, p.floor, 0.9, "the same with few waiting");
}

// --- through a distributor ---------------------------------------------------------------------------------------------------

/// Messages per second out of `e` into streaming workers. Starting the workers counts. `limit`: each worker ends after so many, 0: when
/// all is done. Without a distributor all of them take from `e`.
double workers_rate(const Settings& s, const std::string& name, gw::Queue& e, unsigned workers, const char* capacity, unsigned limit, bool distributor) {
  const std::string tool = s.bin + "/bin/distributor", root_dir = s.dir + "/" + name;
  std::optional<Listening> run;
  if (distributor) run = start_ready({tool, "run", "--root", root_dir, "--endpoint", e.name(), "--concurrency", "1000", "-q"});
  const uint64_t before = must(e.status(), "status").acks_total;
  File null("/dev/null", O_WRONLY);
  auto begin = Clock::now();
  std::vector<pid_t> pids;
  for (unsigned i = 0; i < workers; ++i) {
    std::vector<std::string> words{tool, "worker", "--root", root_dir, "--queue", distributor ? "w" + std::to_string(i) : e.name(), "-q"};
    if (distributor) words.insert(words.end(), {"--master", e.name()});
    auto how = streaming(s, capacity, limit);
    if (limit == 0) how.insert(how.begin(), "--drain");
    words.insert(words.end(), how.begin(), how.end());
    pids.push_back(spawn(words, null.fd, -1));
  }
  for (pid_t pid : pids) join(pid, "distributor worker");
  const double seconds = seconds_since(begin);
  const auto handled = static_cast<double>(must(e.status(), "status").acks_total - before);
  if (run) stop(*run);
  return handled / seconds;
}

void bench_distributor(const Settings& s) {
  auto root = open_root(s, "distributor");
  auto e = must(root->create_queue("E"), "create");
  const unsigned n = s.long_run ? 200'000 : 40'000;
  for (unsigned workers : {1u, 2u, 4u})
    for (const char* capacity : {"256", "1000"}) {
      auto take = [&] {
        put_many(*root, e, n, 256);
        auto begin = Clock::now();
        take_many(*root, e, n, static_cast<size_t>(std::atoi(capacity)));
        return n / seconds_since(begin);
      };
      auto plain = [&] {
        put_many(*root, e, n, 256);
        return workers_rate(s, "distributor", e, workers, capacity, 0, false);
      };
      auto ours = [&] {
        put_many(*root, e, n, 256);
        return workers_rate(s, "distributor", e, workers, capacity, 0, true);
      };
      Pair p = in_turns(s, take, ours);
      row("distributor, " + std::to_string(workers) + " workers of " + capacity, p.ours, p.floor, 1 / 1.5, "take + ack, as many per sync");
      row("  the same, against 20,000/s", p.ours, 20'000, 1.0, "20,000 per second");
      p = in_turns(s, plain, ours);
      row("  the same, against plain workers", p.ours, p.floor, 1 / 1.5, "the same workers without a distributor");
    }
  const unsigned many = s.long_run ? 1'000'000 : 100'000, some = s.long_run ? 50'000 : 10'000;
  auto small = open_root(s, "distributor-few"), large = open_root(s, "distributor-many");
  auto se = must(small->create_queue("E"), "create"), le = must(large->create_queue("E"), "create");
  put_many(*large, le, many, 256);
  Pair p = in_turns(s,
                    [&] {
                      put_many(*small, se, some + 4'000, 256);
                      return workers_rate(s, "distributor-few", se, 2, "1000", some / 2, true);
                    },
                    [&] {
                      put_many(*large, le, some, 256);
                      return workers_rate(s, "distributor-many", le, 2, "1000", some / 2, true);
                    });
  row("distributor with " + short_number(many) + " waiting", p.ours, p.floor, 0.9, "the same with few waiting");
}

std::string file_system_name(const std::string& dir) {
  struct statfs f;
  if (statfs(dir.c_str(), &f) != 0) return "?";
  switch (f.f_type) {
    case 0xEF53: return "ext4";
    case 0x58465342: return "xfs";
    case 0x9123683E: return "btrfs";
    case 0x01021994: return "tmpfs: syncs cost nothing there, the ratios mean little";
    default: return "another";
  }
}

int run(const Settings& s) {
  std::printf("file system: %s; messages of 1 KiB; medians of %u turns%s\n", file_system_name(s.dir).c_str(), s.rounds,
              s.long_run ? "" : "; BENCH_LONG=1 measures longer and with 1,000,000 waiting");
  heading();
  const std::vector<std::pair<const char*, void (*)(const Settings&)>> all = {
      {"single", bench_single}, {"stream", bench_stream},   {"processes", bench_processes}, {"start", bench_start},
      {"gateway", bench_gateway}, {"backlog", bench_backlog}, {"memory", bench_memory}, {"worker", bench_worker}, {"distributor", bench_distributor}};
  for (auto& [name, function] : all)
    if (s.names.empty() || std::find(s.names.begin(), s.names.end(), name) != s.names.end()) function(s);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings s;
  s.self = std::filesystem::read_symlink("/proc/self/exe").string();
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word == "--long") s.long_run = true;
    else if (word == "--rounds" && i + 1 < argc) s.rounds = static_cast<unsigned>(std::atoi(argv[++i]));
    else words.push_back(word);
  }
  if (words.size() < 2) die("usage: bench DIR BUILD [--long] [--rounds N] [single|stream|processes|start|gateway|backlog|memory|worker|distributor]...");
  s.dir = words[0];
  s.bin = words[1];
  if (words.size() == 4 && words[2] == "--put-child") return put_child(s, static_cast<unsigned>(std::atoi(words[3].c_str())));
  if (words.size() == 4 && words[2] == "--answer-child") return answer_child(static_cast<unsigned>(std::atoi(words[3].c_str())));
  if (words.size() == 4 && words[2] == "--rss-child") return rss_child(s, words[3].c_str());
  s.names.assign(words.begin() + 2, words.end());
  return run(s);
}
