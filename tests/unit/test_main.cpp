// main() of the unit tests, and a reporter that writes TAP (--reporters=tap): one line per test case.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <iostream>
#include <mutex>
#include <sstream>
#include <string>

namespace {

class Tap : public doctest::IReporter {
 public:
  explicit Tap(const doctest::ContextOptions& options) : out_(*options.cout), list_only_(options.list_test_cases) {}
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {
    if (!list_only_) out_ << "1.." << count_ << std::endl;
  }
  void test_case_start(const doctest::TestCaseData& data) override {
    name_ = data.m_name;
    details_.clear();
  }
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
    out_ << (stats.testCaseSuccess ? "ok " : "not ok ") << ++count_ << " - " << name_ << "\n" << details_ << std::flush;
  }
  void test_case_exception(const doctest::TestCaseException& exception) override {
    detail(std::string("exception: ") + exception.error_string.c_str());
  }
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData& assertion) override {
    if (!assertion.m_failed) return;
    std::string text = std::string(assertion.m_file) + ":" + std::to_string(assertion.m_line) + ": " + assertion.m_expr;
    if (assertion.m_threw) text += " threw " + std::string(assertion.m_exception.c_str());
    detail(text + ": " + assertion.m_decomp.c_str());
  }
  void log_message(const doctest::MessageData& message) override { detail(message.m_string.c_str()); }
  void test_case_skipped(const doctest::TestCaseData&) override {}

 private:
  // Assertions may come from any thread.
  void detail(const std::string& text) {
    std::lock_guard lock(mutex_);
    details_ += "# ";
    for (char c : text) {
      details_ += c;
      if (c == '\n') details_ += "# ";
    }
    details_ += '\n';
    for (int i = 0, n = doctest::IReporter::get_num_active_contexts(); i < n; ++i) {
      std::ostringstream context;
      doctest::IReporter::get_active_contexts()[i]->stringify(&context);
      details_ += "#   " + context.str() + '\n';
    }
  }

  std::ostream& out_;
  bool list_only_;
  std::mutex mutex_;
  std::string name_, details_;
  int count_ = 0;
};

DOCTEST_REGISTER_REPORTER("tap", 1, Tap);

}  // namespace
