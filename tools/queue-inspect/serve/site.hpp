// From a request to a page.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "gate.hpp"
#include "http.hpp"
#include "overview.hpp"
#include "page.hpp"
#include "store_thread.hpp"

namespace gw::inspect {

/// /a%2Fb/c -> {"a/b", "c"}; nullopt: an escape that is none, or NUL.
std::optional<std::vector<std::string>> path_parts(std::string_view target);
/// a=b&c=d; what is malformed is left out.
Query query_of(std::string_view query);

class Site {
 public:
  Site(Root& root, Observer observer, std::string root_words);
  /// Looks now. Any thread.
  Result<void> look();
  /// Any thread, also with little stack.
  http::Answer answer(const http::RequestHead& head);

 private:
  http::Answer page_for(const http::RequestHead& head);
  Page route(const View& view, const std::vector<std::string>& parts, const Query& query);
  Result<void> look_now();

  Root& root_;
  Observer observer_;
  std::string root_words_;
  std::optional<Overview> now_;  // used on thread_ only, as is observer_
  int64_t looked_ms_ = 0;
  Stories stories_;             // likewise
  StoreThread thread_;
};

inline constexpr Observer::Pace page_pace{5000, 120};  ///< the last ten minutes

}  // namespace gw::inspect
