// The public face (queue.hpp): thin, so that another implementation can stand behind it.
#include "../queue.hpp"

#include "../gw_assert.hpp"
#include "impl.hpp"

namespace gw {

using namespace queue_detail;

bool queue_name_ok(std::string_view name) {
  if (name.empty() || name.size() > queue_name_bytes_max || name[0] == '.' || name[0] == '-') return false;
  for (char c : name) {
    bool ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    if (!ok) return false;
  }
  return true;
}

Result<void> check_queue_name(std::string_view name) {
  if (queue_name_ok(name)) return {};
  std::string shown;
  for (char c : name.substr(0, 80)) shown += static_cast<unsigned char>(c) < 32 || c == 127 ? '?' : c;
  return Error{ExitCode::usage, 0, "'" + shown + (name.size() > 80 ? "..." : "") + "' is not a queue name: letters, digits, '.', '_' and '-', at most 150, no leading '.' or '-'"};
}

std::string_view to_string(MessageState state) {
  switch (state) {
    case MessageState::ready: return "ready";
    case MessageState::claimed: return "claimed";
    case MessageState::deferred: return "deferred";
  }
  return "";
}

// --- Claim ---------------------------------------------------------------------------------------------------------

Claim::Claim(std::unique_ptr<ClaimState> state) : state_(std::move(state)) {}
Claim::Claim(Claim&&) noexcept = default;
Claim& Claim::operator=(Claim&& other) noexcept {
  if (this != &other) {
    release();
    state_ = std::move(other.state_);
  }
  return *this;
}
Claim::~Claim() { release(); }
void Claim::release() {
  if (state_ && state_->held) state_->queue->release(*state_);
  state_.reset();
}
const MessageInfo& Claim::info() const { return state_->info; }
const std::string& Claim::queue_name() const { return state_->queue->name(); }
const Message& Claim::message() const { return state_->message; }
Message& Claim::message() { return state_->message; }

// --- Queue ---------------------------------------------------------------------------------------------------------

const std::string& Queue::name() const { return impl_->name(); }
Result<std::vector<Claim>> Queue::claim(size_t max, bool keep_expired) {
  auto claims = impl_->claim(max, keep_expired);
  impl_->root().journal().write();
  return claims;
}
Result<std::optional<Claim>> Queue::claim_seq(uint64_t seq) { return impl_->claim_seq(seq); }
Result<void> Queue::scan(const std::function<bool(const MessageInfo&)>& visit, uint64_t from_seq) const { return impl_->scan(visit, from_seq); }
Result<std::optional<std::pair<MessageInfo, Message>>> Queue::read(uint64_t seq) const { return impl_->read(seq); }
Result<QueueStatus> Queue::status() const { return impl_->status(); }
bool Queue::puts_on() const { return impl_->shared().puts_off.load() == 0; }
bool Queue::journalled() const {
  auto meta = impl_->read_meta();
  return meta && meta->journal != 0;
}
bool Queue::takes_on() const { return impl_->shared().takes_off.load() == 0; }
int64_t Queue::next_due_ms() const { return impl_->root().to_wall_time(impl_->shared().min_due_ms.load()); }
int64_t Queue::last_put_ms() const { return impl_->root().to_wall_time(impl_->shared().last_put_ms.load()); }
uint32_t Queue::bell() const { return impl_->shared().bell.load(); }
Result<void> Queue::hold(bool takes_on, bool puts_on, const std::string& reason) { return impl_->hold(takes_on, puts_on, reason); }
Result<void> Queue::configure(const QueueConfig& config) { return impl_->configure(config); }

// --- Transaction ---------------------------------------------------------------------------------------------------

void Transaction::ack(Claim&& claim) {
  GW_ASSERT(claim);
  sources_.push_back({std::move(claim), std::nullopt});
}
void Transaction::defer(Claim&& claim, Defer how) {
  GW_ASSERT(claim);
  sources_.push_back({std::move(claim), how});
}
void Transaction::put(const Queue& queue, Message message, PutOptions options) { puts_.push_back({queue, std::move(message), std::move(options)}); }

// --- Root ----------------------------------------------------------------------------------------------------------

Root::Root(std::unique_ptr<RootImpl> impl) : impl_(std::move(impl)) {}
Root::~Root() = default;

Result<std::unique_ptr<Root>> Root::open(const std::string& path, const RootOptions& options) {
  GW_TRY_ASSIGN(auto impl, RootImpl::open(path, options));
  return std::unique_ptr<Root>(new Root(std::move(impl)));
}

const std::string& Root::path() const { return impl_->path(); }
const std::string& Root::machine() const { return impl_->machine_; }
uint64_t Root::free_bytes() const { return impl_->free_bytes(); }
Journal& Root::journal() { return impl_->journal(); }
uint64_t Root::reserve_bytes() const { return impl_->reserve_bytes(); }
bool Root::xid_in_use(const Xid& xid) const { return impl_->xid_in_use(xid); }

Result<Queue> Root::queue(std::string_view name) {
  GW_TRY_ASSIGN(auto impl, impl_->queue(name));
  return Queue(std::move(impl));
}
Result<Queue> Root::create_queue(std::string_view name, const QueueConfig& config) {
  GW_TRY_ASSIGN(auto impl, impl_->create_queue(name, config));
  return Queue(std::move(impl));
}
Result<void> Root::remove_queue(std::string_view name, bool force) { return impl_->remove_queue(name, force); }
Result<std::vector<std::string>> Root::list_queues() const { return impl_->list_queues(); }
BodyWriter Root::body_writer() { return BodyWriter(impl_.get()); }

Result<CommitResult> Root::commit(Transaction&& transaction) {
  std::vector<Transaction> one;
  one.push_back(std::move(transaction));
  return std::move(impl_->commit_all(std::move(one))[0]);
}
std::vector<Result<CommitResult>> Root::commit_all(std::vector<Transaction>&& transactions) { return impl_->commit_all(std::move(transactions)); }

RootClock Root::clock() { return impl_->clock(); }
bool Root::expired(const MessageInfo& info) { return impl_->expired(info); }
Result<void> Root::accept_clock() { return impl_->accept_clock(); }
uint32_t Root::bell() const { return impl_->shared().bell.load(); }
void Root::wait(uint32_t seen, int64_t timeout_ms) { impl_->wait(seen, timeout_ms); }
void Root::ring() { impl_->ring(); }
Result<size_t> Root::recover_dead_owners() { return impl_->recover_dead_owners(true); }
void Root::sweep_blobs() { impl_->sweep_due_blobs(); }
Result<void> Root::maintain() { return impl_->maintain(false); }
Result<std::optional<UniqueFd>> Root::try_singleton(std::string_view name, int* owner_pid) { return impl_->try_singleton(name, owner_pid); }
Root::SingletonInfo Root::singleton(std::string_view name) const { return impl_->singleton(name); }
Result<Root::CheckReport> Root::check(bool repair) {
  return impl_->check(repair, [] {});
}

}  // namespace gw
