#include "system_cas.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

namespace gw {
namespace {

std::optional<std::string> read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (file.bad() || text.empty()) return std::nullopt;
  return text;
}

/// What is between -----BEGIN and -----END, with the kind: as it is written.
std::vector<std::string> blocks(std::string_view pem) {
  std::vector<std::string> all;
  for (size_t begin = 0; (begin = pem.find("-----BEGIN", begin)) != std::string_view::npos;) {
    const size_t end = pem.find("-----END", begin);
    all.emplace_back(pem.substr(begin, end - begin));
    if (end == std::string_view::npos) break;
    begin = end;
  }
  return all;
}

bool is_first_of_name(const std::string& name) {
  return name.size() == 10 && name.ends_with(".0") && name.find_first_not_of("0123456789abcdef") == 8;
}

/// Of the files 0a1b2c3d.0, 0a1b2c3d.1, ... up to the first that is missing. A file counts with a single certificate only: it has the
/// name of its first.
std::set<std::string> found_by_name(const std::string& directory) {
  std::set<std::string> all;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    if (!is_first_of_name(entry->path().filename())) continue;
    std::string path = entry->path();
    path.pop_back();
    for (int i = 0; auto text = read_all(path + std::to_string(i)); ++i)
      if (auto certs = blocks(*text); certs.size() == 1) all.insert(std::move(certs.front()));
  }
  return all;
}

std::string stamp_of(const std::string& path) {
  struct stat s {};
  if (::stat(path.c_str(), &s) != 0) return "-";
  return std::to_string(s.st_ino) + "/" + std::to_string(s.st_size) + "/" + std::to_string(s.st_mtim.tv_sec) + "." +
         std::to_string(s.st_mtim.tv_nsec) + " ";
}

}  // namespace

bool directory_has_all(const std::string& bundle, const std::string& directory) {
  const auto text = read_all(bundle);
  if (!text) return false;
  const auto wanted = blocks(*text);
  const auto found = found_by_name(directory);
  return !wanted.empty() && std::all_of(wanted.begin(), wanted.end(), [&](const std::string& cert) { return found.contains(cert); });
}

std::string SystemCas::stamps() const { return stamp_of(bundle_) + stamp_of(directory_); }

bool SystemCas::directory_is_enough() {
  if (bundle_.empty() || directory_.empty()) return false;
  std::string now = stamps();
  if (now != stamps_) {
    enough_ = directory_has_all(bundle_, directory_);
    stamps_ = std::move(now);
  }
  return enough_;
}

}  // namespace gw
