#include "sink.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "hash.hpp"
#include "support.hpp"

namespace gw::inspect {

namespace {

constexpr size_t chunk_bytes = 48 * 1024;       // a multiple of 3, so that base64 pieces can be joined
constexpr size_t file_name_bytes_max = 200;     // leaves room for `~SEQ`

Result<bool> contains(const Body& body, char what) {
  if (!body.is_file()) return body.bytes().find(what) != std::string::npos;
  for (uint64_t at = 0; at < body.size(); at += chunk_bytes) {
    GW_TRY_ASSIGN(std::string chunk, body.read_at(at, chunk_bytes));
    if (chunk.find(what) != std::string::npos) return true;
  }
  return false;
}

std::string absolute_path(const std::string& path) {
  std::unique_ptr<char, decltype(&::free)> full(::realpath(path.c_str(), nullptr), &::free);
  return full ? full.get() : path;
}

class StdoutSink : public Sink {
 public:
  enum class Form { bare, lines, nul, json };
  StdoutSink(Form form, std::string root_path) : form_(form), root_path_(std::move(root_path)) {}

  Result<Written> write(const std::string& queue, const MessageInfo& info, const Message& message) override {
    if (form_ == Form::json) return write_json(queue, info, message);
    const char end = form_ == Form::lines ? '\n' : '\0';
    if (form_ != Form::bare) {
      GW_TRY_ASSIGN(bool torn, contains(message.body, end));
      if (torn) return Written::refused;
    }
    GW_TRY(write_body(message.body));
    if (form_ != Form::bare) out(std::string_view(&end, 1));
    return Written::yes;
  }
  Result<void> settle() override { return flush_stdout(); }

 private:
  // A large body's file goes with its message, so the body itself has to be in the output, piece by piece.
  Result<Written> write_json(const std::string& queue, const MessageInfo& info, const Message& message) {
    JsonObject object = message_json(queue, info, message);
    add_attachments(object, message.headers, root_path_);
    GW_TRY_ASSIGN(bool added, add_small_body(object, message.body));
    std::string text = object.str();
    if (!added) {
      text.pop_back();
      out(text + ",\"body_base64\":\"");
      for (uint64_t at = 0; at < message.body.size(); at += chunk_bytes) {
        GW_TRY_ASSIGN(std::string chunk, message.body.read_at(at, chunk_bytes));
        out(base64(chunk));
      }
      text = "\"}";
    }
    out(text + "\n");
    return Written::yes;
  }

  Form form_;
  std::string root_path_;
};

class DirectorySink : public Sink {
 public:
  DirectorySink(std::string path, UniqueFd fd, const CommonOptions& common) : path_(std::move(path)), fd_(std::move(fd)), json_(common.json) {}

  Result<Written> write(const std::string& queue, const MessageInfo& info, const Message& message) override {
    const std::string part = ".gatepost-" + std::to_string(::getpid()) + "-" + std::to_string(info.seq) + ".part";
    auto stored = write_part(part, message.body);
    if (stored) stored = give_name(part, message, info.seq);
    if (!stored) {
      ::unlinkat(fd_.get(), part.c_str(), 0);
      return std::move(stored).error();
    }
    if (json_) {
      JsonObject object = message_json(queue, info, message);
      object.add("body_file", path_ + "/" + name_);
      out(object.str() + "\n");
    }
    return Written::yes;
  }

  Result<void> settle() override {
    if (::fsync(fd_.get()) != 0) return errno_error("fsync", path_, errno);
    return flush_stdout();
  }

 private:
  Result<void> write_part(const std::string& part, const Body& body) {
    UniqueFd file(::openat(fd_.get(), part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666));
    if (!file) return errno_error("create", path_ + "/" + part, errno);
    GW_TRY(body.copy_to(file.get()));
    if (::fsync(file.get()) != 0) return errno_error("fsync", path_ + "/" + part, errno);
    return {};
  }

  Result<void> give_name(const std::string& part, const Message& message, uint64_t seq) {
    const std::string name = clean_file_name(message.headers.get(header::file_name), clean_file_name(message.id(), std::to_string(seq)));
    name_ = name;
    if (::renameat2(fd_.get(), part.c_str(), fd_.get(), name_.c_str(), RENAME_NOREPLACE) == 0) return {};
    // name~SEQ can only be this very message, taken by somebody who was killed before the ack.
    if (errno == EEXIST) {
      name_ = name + "~" + std::to_string(seq);
      if (::renameat(fd_.get(), part.c_str(), fd_.get(), name_.c_str()) == 0) return {};
    }
    return errno_error("rename", path_ + "/" + name_, errno);
  }

  std::string path_, name_;
  UniqueFd fd_;
  bool json_;
};

}  // namespace

std::string clean_file_name(std::string_view wanted, std::string_view fallback) {
  wanted = wanted.substr(std::min(wanted.find_last_of("/\\") + 1, wanted.size()));
  std::string name;
  for (char c : wanted) {
    unsigned char byte = static_cast<unsigned char>(c);
    name += byte < 0x20 || byte == 0x7f ? '_' : c;
  }
  if (!utf8_ok(name))
    for (char& c : name)
      if (static_cast<unsigned char>(c) >= 0x80) c = '_';
  for (size_t i = 0; i < name.size() && (name[i] == '.' || name[i] == '-'); ++i) name[i] = '_';
  while (name.size() > file_name_bytes_max || (!name.empty() && !utf8_ok(name))) name.pop_back();
  return name.empty() ? std::string(fallback) : name;
}

Result<std::unique_ptr<Sink>> Sink::make(const Options& options, const CommonOptions& common) {
  using Form = StdoutSink::Form;
  int forms = options.lines + options.nul + common.json;
  if (forms > 1 || (!options.to_dir.empty() && (options.lines || options.nul)))
    return Error{ExitCode::usage, 0, "--lines, -0, --json and --to-dir exclude each other"};
  if (options.to_dir.empty()) {
    Form form = options.lines ? Form::lines : options.nul ? Form::nul : common.json ? Form::json : Form::bare;
    return std::unique_ptr<Sink>(std::make_unique<StdoutSink>(form, absolute_path(common.root)));
  }
  UniqueFd fd(::open(options.to_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return errno_error("open", options.to_dir, errno);
  return std::unique_ptr<Sink>(std::make_unique<DirectorySink>(options.to_dir, std::move(fd), common));
}

}  // namespace gw::inspect
