#include "config_watch.hpp"

#include <sys/stat.h>

#include "diag.hpp"
#include "units.hpp"

namespace gw {

// Follows links in every part of the path.
std::string file_stamp(const std::string& path) {
  struct stat file {};
  if (path.empty() || ::stat(path.c_str(), &file) != 0) return "";
  auto time = [](const timespec& t) { return std::to_string(t.tv_sec) + "." + std::to_string(t.tv_nsec); };
  return std::to_string(file.st_dev) + " " + std::to_string(file.st_ino) + " " + std::to_string(file.st_size) + " " +
         time(file.st_mtim) + " " + time(file.st_ctim);
}

Result<Config> ConfigWatch::read() {
  stamp_ = file_stamp(path_);  // before: what changes while we read is a change
  auto config = load_config(path_, must_exist_);
  if (config && !config->path.empty()) must_exist_ = true;
  return config;
}

bool ConfigWatch::changed() const {
  const std::string now = file_stamp(path_);
  return !now.empty() && now != stamp_;
}

void ConfigWatch::look_again(bool asked) {
  constexpr int64_t look_every_ms = 1000;
  if (!asked && monotonic_ms() - looked_at_ms_ < look_every_ms) return;
  looked_at_ms_ = monotonic_ms();
  if (!asked && !changed()) return;
  if (auto config = read(); config)
    event(Level::info, "config-read", {{"path", path_}});
  else
    event(Level::error, "config-bad", {{"path", path_}, {"reason", config.error().text}});
}

}  // namespace gw
