// edit: a message is replaced by one with another body, in one transfer.
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "commands.hpp"
#include "diag.hpp"
#include "handler.hpp"
#include "outbox_outcomes.hpp"
#include "process.hpp"
#include "program.hpp"
#include "put_notes.hpp"
#include "support.hpp"
#include "units.hpp"

extern char** environ;

namespace gw::inspect {

namespace {

constexpr size_t piece_bytes = 64 * 1024;

std::vector<std::string> own_environment() {
  std::vector<std::string> all;
  for (char** entry = environ; *entry; ++entry) all.emplace_back(*entry);
  return all;
}

/// Makes the new body of a message.
class Editor {
 public:
  virtual ~Editor() = default;
  /// nullopt: the body stays as it is; what for was told.
  virtual Result<std::optional<Body>> edit(const Message& message, BodyWriter&& writer) = 0;
};

Result<Body> body_of_file(int fd, BodyWriter&& writer, const std::string& name) {
  std::string piece(piece_bytes, '\0');
  for (off_t at = 0;;) {
    const ssize_t n = ::pread(fd, piece.data(), piece.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("read", name, errno);
    if (n == 0) break;
    GW_TRY(writer.write(std::string_view(piece.data(), static_cast<size_t>(n))));
    at += n;
  }
  return std::move(writer).finish();
}

void tell_end(const std::string& id, const std::string& program, const ChildEnd& end) {
  const std::string how = end.signal != 0 ? "was ended by " + signal_name(end.signal) : "ended with status " + std::to_string(end.exit_status);
  print_error("message '" + id + "' stays as it is: '" + program + "' " + how);
}

Result<ChildEnd> wait_for(Child& child) {
  for (;;) {
    if (auto end = child.reap()) return *end;
    pollfd ended{child.exit_fd(), POLLIN, 0};
    if (::poll(&ended, 1, -1) < 0 && errno != EINTR) return errno_error("wait for", "a program", errno);
  }
}

/// --exec: the body on stdin, the new one on stdout.
class Filter : public Editor {
 public:
  Filter(std::string program, std::string name, ScratchDir& scratch) : program_(std::move(program)), name_(std::move(name)), scratch_(scratch) {}

  Result<std::optional<Body>> edit(const Message& message, BodyWriter&& writer) override {
    GW_TRY_ASSIGN(UniqueFd in, message.body.open());
    GW_TRY_ASSIGN(UniqueFd made, scratch_.temporary());
    ChildSpec spec;
    spec.program = program_;
    spec.arguments = {name_};
    spec.environment = own_environment();
    spec.in = in.get();
    spec.out = made.get();
    spec.err = 2;
    GW_TRY_ASSIGN(Child child, Child::start(spec));
    GW_TRY_ASSIGN(ChildEnd end, wait_for(child));
    if (end.signal != 0 || end.exit_status != 0) {
      tell_end(message.id(), name_, end);
      return std::optional<Body>();
    }
    GW_TRY_ASSIGN(Body body, body_of_file(made.get(), std::move(writer), "the output of " + name_));
    return std::optional<Body>(std::move(body));
  }

 private:
  std::string program_, name_;
  ScratchDir& scratch_;
};

/// VISUAL or EDITOR, which are shell words, with a file.
class FileEditor : public Editor {
 public:
  FileEditor(std::string command, ScratchDir& scratch) : command_(std::move(command)), scratch_(scratch) {}

  Result<std::optional<Body>> edit(const Message& message, BodyWriter&& writer) override {
    const std::string name = "body";
    GW_TRY(scratch_.write(name, ""));
    struct Remove {
      ScratchDir& scratch;
      const std::string& file;
      ~Remove() { scratch.remove(file); }
    } remove{scratch_, name};
    const std::string path = scratch_.path() + "/" + name;
    {
      UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
      if (!file) return errno_error("open", path, errno);
      GW_TRY(message.body.copy_to(file.get()));
    }
    GW_TRY_ASSIGN(bool edited, run(message, path));
    if (!edited) return std::optional<Body>();
    // Editors like to put a new file in the place of the old one.
    UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file) return errno_error("open", path, errno);
    GW_TRY_ASSIGN(Body body, body_of_file(file.get(), std::move(writer), path));
    GW_TRY_ASSIGN(bool same, equal(body, message.body));
    if (same) {
      print_error("message '" + message.id() + "' stays as it is: the body was not changed");
      return std::optional<Body>();
    }
    return std::optional<Body>(std::move(body));
  }

 private:
  // In our own process group: an editor needs the terminal.
  Result<bool> run(const Message& message, const std::string& path) {
    const std::string line = command_ + " \"$1\"";
    const pid_t pid = ::fork();
    if (pid < 0) return errno_error("start", command_, errno);
    if (pid == 0) {
      ::signal(SIGPIPE, SIG_DFL);
      ::execl("/bin/sh", "sh", "-c", line.c_str(), "sh", path.c_str(), static_cast<char*>(nullptr));
      ::_exit(127);
    }
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0)
      if (errno != EINTR) return errno_error("wait for", command_, errno);
    ChildEnd end;
    if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
    if (WIFEXITED(status)) end.exit_status = WEXITSTATUS(status);
    if (end.signal == 0 && end.exit_status == 0) return true;
    tell_end(message.id(), command_, end);
    return false;
  }

  static Result<bool> equal(const Body& a, const Body& b) {
    if (a.size() != b.size()) return false;
    for (uint64_t at = 0; at < a.size(); at += piece_bytes) {
      GW_TRY_ASSIGN(std::string left, a.read_at(at, piece_bytes));
      GW_TRY_ASSIGN(std::string right, b.read_at(at, piece_bytes));
      if (left != right) return false;
    }
    return true;
  }

  std::string command_;
  ScratchDir& scratch_;
};

/// What makes the new bodies: a program of ours to call, or words for the shell.
struct How {
  std::string program, name, shell_words;
};

Result<How> find_editor(const std::string& exec) {
  How how;
  if (!exec.empty()) {
    how.name = exec;
    GW_TRY_ASSIGN(how.program, find_program(exec));
    return how;
  }
  for (const char* name : {"VISUAL", "EDITOR"})
    if (const char* command = std::getenv(name); command && *command) {
      how.shell_words = command;
      return how;
    }
  return Error{ExitCode::usage, 0, "no editor: set VISUAL or EDITOR, or name a program with --exec"};
}

std::unique_ptr<Editor> make_editor(const How& how, ScratchDir& scratch) {
  if (!how.program.empty()) return std::make_unique<Filter>(how.program, how.name, scratch);
  return std::make_unique<FileEditor>(how.shell_words, scratch);
}

class Edit {
 public:
  Edit(Root& root, Queue queue, Editor& editor, const CommonOptions& common) : root_(root), queue_(std::move(queue)), editor_(editor), common_(common), outcomes_(root) {}

  /// False: the message stayed as it was, which was told.
  Result<bool> replace(const Selected& one) {
    GW_TRY_ASSIGN(auto claim, queue_.claim_seq(one.info.seq));
    if (!claim) {
      print_error("message :" + std::to_string(one.info.seq) + " is claimed elsewhere or gone");
      return false;
    }
    GW_TRY_ASSIGN(auto body, editor_.edit(std::as_const(*claim).message(), root_.body_writer()));
    if (!body) return false;
    Message message{std::as_const(*claim).message().headers, *std::move(body)};
    const std::string old_id = message.id();
    message.headers.set(header::message_id, new_message_id());
    message.headers.set(parent_id_header, old_id);
    PutOptions how;
    how.expires_at_ms = one.info.expires_at_ms;
    how.due_at_ms = one.info.state == MessageState::deferred ? one.info.due_at_ms : 0;
    how.failures = claim->info().failures;
    const PutNote before = note_put(queue_, std::as_const(*claim).message()), after = note_put(queue_, message, old_id);
    Transaction transaction;
    transaction.put(queue_, std::move(message), how);
    transaction.ack(*std::move(claim));
    if (queue_.puts_on()) outcomes_.leaves(queue_.name(), before.id, how.failures, "replaced by " + after.id);  // else it is refused
    GW_TRY(outcomes_.record());
    GW_TRY_ASSIGN(CommitResult done, root_.commit(std::move(transaction)));
    tell(before, after, one.info.seq, done.puts.at(0).seq);
    return true;
  }

 private:
  void tell(const PutNote& before, const PutNote& after, uint64_t seq, uint64_t new_seq) {
    if (common_.json)
      out(JsonObject().add("id", after.id).add("seq", new_seq).add("result", "edited").add("parent_id", before.id).str() + "\n");
    else
      out(after.id + "\n");
    const std::string reason = "replaced by " + after.id;
    JournalLine line = before.line(Happened::purged, seq);
    line.reason = reason;
    root_.journal().add(line);
    root_.journal().add(after.line(Happened::stored, new_seq));
    root_.journal().write();
  }

  Root& root_;
  Queue queue_;
  Editor& editor_;
  const CommonOptions& common_;
  OutboxOutcomes outcomes_;
};

Result<ExitCode> plan(const Queue& queue, Selection& selection, const CommonOptions& common) {
  GW_TRY_ASSIGN(Planned planned, print_plan(queue, selection, "would-edit", "", common));
  const ExitCode missing = report_missing(selection, queue.name(), planned.any());
  return missing != ExitCode::ok ? missing : planned.skipped > 0 || !planned.any() ? ExitCode::no : ExitCode::ok;
}

}  // namespace

Result<ExitCode> edit(const Options& options, const CommonOptions& common) {
  GW_TRY(require(options.queue, "QUEUE"));
  GW_TRY(require_selection(options.selection));
  GW_TRY_ASSIGN(Selection selection, Selection::parse(options.selection));
  How how;
  if (!common.dry_run) {
    GW_TRY_ASSIGN(how, find_editor(options.exec));
  }
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  selection.search_in(*root);
  GW_TRY_ASSIGN(Queue queue, open_settled_queue(*root, options.queue));
  if (common.dry_run) return plan(queue, selection, common);
  GW_TRY_ASSIGN(auto scratch, ScratchDir::create());  // as the owner of the root, who writes into it
  const std::unique_ptr<Editor> editor = make_editor(how, *scratch);
  GW_TRY_ASSIGN(auto chosen, select_messages(queue, selection));
  Edit work(*root, queue, *editor, common);
  bool all = true;
  for (const Selected& one : chosen) {
    GW_TRY_ASSIGN(bool replaced, work.replace(one));
    all &= replaced;
    GW_TRY(flush_stdout());
  }
  const ExitCode missing = report_missing(selection, queue.name(), !chosen.empty());
  return missing != ExitCode::ok ? missing : all && !chosen.empty() ? ExitCode::ok : ExitCode::no;
}

}  // namespace gw::inspect
