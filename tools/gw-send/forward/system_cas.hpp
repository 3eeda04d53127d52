// The system's CAs: a file of all of them, and a directory in which OpenSSL finds one by its name.
//
// The library reads the whole file anew for each connection, and everything else waits meanwhile: 20 ms for the 144 of Debian. The
// directory costs nothing, so the file is left out if it has nothing more.
#pragma once

#include <string>

namespace gw {

/// Is each certificate of `bundle` also in `directory`, where OpenSSL looks for it (files as `openssl rehash` names them)? False if one
/// of them cannot be read. Reads all of them.
bool directory_has_all(const std::string& bundle, const std::string& directory);

/// The same, read again only after one of them has changed. One thread.
class SystemCas {
 public:
  SystemCas(std::string bundle, std::string directory) : bundle_(std::move(bundle)), directory_(std::move(directory)) {}
  bool directory_is_enough();

 private:
  std::string stamps() const;

  std::string bundle_, directory_, stamps_;
  bool enough_ = false;
};

}  // namespace gw
