#include "transfer.hpp"

namespace gw {

/// Exactly what the other side says when it has it.
bool Transfer::accepted(const HttpAnswer& last) const {
  if (target->carrier == Target::Carrier::program) return last.word == HttpAnswer::Word::ok;
  if (last.status != 200 || !last.complete) return false;
  const Call& now = calls[plan_.front()];
  return last.body == (now.envelope ? now.envelope->expected_answer() : "OK");
}

bool Transfer::delivered() const { return calls[plan_.front()].property.empty() && accepted(answer); }

void Transfer::plan_calls(bool tried_before) {
  plan_.clear();
  accepted_.assign(calls.size(), false);
  // Who tries again asks first what is missing: what the other side has need not be sent twice.
  if (!tried_before)
    for (size_t i = 0; i + 1 < calls.size(); ++i) plan_.push_back(i);
  plan_.push_back(calls.size() - 1);
}

bool Transfer::goes_on(const HttpAnswer& last) {
  const size_t current = plan_.front();
  if (!calls[current].property.empty()) {
    if (!accepted(last)) return false;
    accepted_[current] = true;
    plan_.pop_front();
    return true;
  }
  if (last.status != 412 || !last.complete || calls.size() == 1) return false;
  std::deque<size_t> missing = missing_properties(last.body);
  // What was accepted a moment ago and is missing all the same will not get there by being sent once more.
  std::erase_if(missing, [this](size_t i) { return accepted_[i]; });
  if (missing.empty()) return false;
  plan_ = std::move(missing);
  plan_.push_back(calls.size() - 1);
  return true;
}

/// The answer names one property that is missing, or says that all are. Both ways of saying it contain the name in the request.
std::deque<size_t> Transfer::missing_properties(const std::string& text) const {
  std::deque<size_t> all;
  if (text.starts_with("MD5 ")) return all;  // the message's own body came to harm
  for (size_t i = 0; i + 1 < calls.size(); ++i) {
    if (text.find(" " + calls[i].property + " was never received") != std::string::npos) return {i};
    all.push_back(i);
  }
  return all;
}

}  // namespace gw
