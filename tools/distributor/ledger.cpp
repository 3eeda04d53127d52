#include "ledger.hpp"

#include <charconv>

#include "diag.hpp"
#include "address.hpp"
#include "units.hpp"

namespace gw::distributor {

namespace {

// Deferred until then: never. A slot that is out becomes ready when it comes back, not when it is due.
constexpr int64_t year_3000_ms = 32'503'680'000'000;

constexpr std::string_view header_flags = "Gatepost.WorkerFlags", header_lease = "Gatepost.WorkerLease";

template <class Number>
Number number(std::string_view text) {
  Number value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

Message record_message(const WorkerRecord& record) {
  Message message;
  Headers& headers = message.headers;
  headers.set(header::message_id, new_message_id());
  headers.set(worker_header::control_message, "True");
  headers.set(header::reply_to_address, record.name);
  headers.set(worker_header::session, record.session);
  headers.set(worker_header::capacity_available, std::to_string(record.capacity));
  std::string flags;
  for (auto [set, word] : {std::pair{record.plain, "plain"}, {record.draining, "draining"}, {record.silent, "silent"}, {record.gone, "gone"},
                           {record.unregistered, "unregistered"}})
    if (set) flags += (flags.empty() ? "" : " ") + std::string(word);
  headers.set(header_flags, flags);
  headers.set(worker_header::since, std::to_string(record.since_ms));
  headers.set(header_lease, std::to_string(record.lease_ms));
  return message;
}

WorkerRecord parse_record(const Headers& headers, uint64_t seq) {
  WorkerRecord record;
  record.seq = seq;
  record.name = headers.get(header::reply_to_address);
  record.session = headers.get(worker_header::session);
  record.capacity = std::min(number<unsigned>(headers.get(worker_header::capacity_available)), worker_capacity_max);
  const std::string flags = " " + std::string(headers.get(header_flags)) + " ";
  auto has = [&](const char* word) { return flags.find(" " + std::string(word) + " ") != std::string::npos; };
  record.plain = has("plain");
  record.draining = has("draining");
  record.silent = has("silent");
  record.gone = has("gone");
  record.unregistered = has("unregistered");
  record.since_ms = number<int64_t>(headers.get(worker_header::since));
  record.lease_ms = number<int64_t>(headers.get(header_lease));
  return record;
}

Message slot_message(const Worker& worker) {
  Message message;
  Headers& headers = message.headers;
  headers.set(header::message_id, new_message_id());
  headers.set(worker_header::control_message, "True");
  headers.set(header::reply_to_address, worker.name);
  headers.set(worker_header::session, worker.session);
  return message;
}

Result<Queue> find_queue(Root& root, const std::string& name, bool create) { return create ? root.create_queue(name) : root.queue(name); }

}  // namespace

Result<Ledger> Ledger::open(Root& root, const std::string& endpoint, bool create) {
  Ledger ledger(root, endpoint);
  GW_TRY_ASSIGN(ledger.input_, find_queue(root, endpoint, create));
  GW_TRY_ASSIGN(ledger.control_, find_queue(root, control_queue(endpoint), create));
  GW_TRY_ASSIGN(ledger.storage_, find_queue(root, storage_queue(endpoint), create));
  GW_TRY_ASSIGN(ledger.workers_, find_queue(root, workers_queue(endpoint), create));
  return ledger;
}

std::optional<Queue> Ledger::local_queue(const std::string& worker) const {
  auto address = parse_address(worker);
  if (!address || !is_here(*address, root_->machine())) return std::nullopt;
  auto queue = root_->queue(address->queue);
  if (!queue) return std::nullopt;
  return *std::move(queue);
}

Result<void> Ledger::load_records(ReadyTable& table, int64_t now) const {
  std::vector<uint64_t> seqs;
  GW_TRY(workers_.scan([&](const MessageInfo& info) { return seqs.push_back(info.seq), true; }));
  for (uint64_t seq : seqs) {
    GW_TRY_ASSIGN(auto found, workers_.read(seq));
    if (!found) continue;
    WorkerRecord record = parse_record(found->second.headers, seq);
    if (!record.name.empty()) table.load(record, now);
  }
  return {};
}

Result<void> Ledger::load_slots(ReadyTable& table, int64_t now, std::vector<uint64_t>& foreign) const {
  std::vector<std::pair<uint64_t, bool>> seqs;
  GW_TRY(storage_.scan([&](const MessageInfo& info) { return seqs.emplace_back(info.seq, info.due_at_ms != 0), true; }));
  for (auto [seq, out] : seqs) {
    GW_TRY_ASSIGN(auto found, storage_.read(seq));
    if (!found) continue;
    const Headers& headers = found->second.headers;
    if (!headers.find(worker_header::session) || !table.load_slot(seq, std::string(headers.get(header::reply_to_address)), out, now)) foreign.push_back(seq);
  }
  return {};
}

// What lies in the queues of workers here says which message is out on which slot; the others know it themselves.
void Ledger::load_hand_outs(ReadyTable& table) const {
  for (Worker* worker : table.workers()) {
    if (worker->out.empty()) continue;
    auto queue = local_queue(worker->name);
    if (!queue) continue;
    size_t wanted = worker->out.size() + worker_capacity_max;  // somebody may have filled it with other messages
    std::vector<uint64_t> seqs;
    auto scanned = queue->scan([&](const MessageInfo& info) { return seqs.push_back(info.seq), seqs.size() < wanted; });
    for (uint64_t seq : seqs) {
      auto found = queue->read(seq);
      if (!found || !*found) continue;
      if (auto hand_out = parse_hand_out((*found)->second.headers.get(worker_header::hand_out))) table.load_hand_out(*hand_out);
    }
    if (!scanned) event(Level::warn, "queue-not-read", {{"queue", queue->name()}, {"reason", scanned.error().text}});
  }
}

Result<std::unique_ptr<ReadyTable>> Ledger::load(int64_t now, std::vector<uint64_t>& foreign) const {
  auto table = std::make_unique<ReadyTable>();
  GW_TRY(load_records(*table, now));
  GW_TRY(load_slots(*table, now, foreign));
  load_hand_outs(*table);
  return table;
}

Result<std::vector<uint64_t>> Ledger::stored_slots() const {
  std::vector<uint64_t> seqs;
  GW_TRY(storage_.scan([&](const MessageInfo& info) { return seqs.push_back(info.seq), true; }));
  return seqs;
}

Result<Ledger::Written> Ledger::write(Transaction& transaction, size_t puts_before, ReadyTable::Changes&& changes) {
  Written written;
  auto slot = [&](uint64_t seq, std::optional<Defer> how) -> Result<void> {
    GW_TRY_ASSIGN(auto claim, storage_.claim_seq(seq));
    if (!claim) written.vanished.push_back(seq);
    else if (how) transaction.defer(*std::move(claim), *how);
    else transaction.ack(*std::move(claim));
    return {};
  };
  for (uint64_t seq : changes.to_out) GW_TRY(slot(seq, Defer{year_3000_ms, false}));
  for (uint64_t seq : changes.to_free) GW_TRY(slot(seq, Defer{0, false}));
  for (uint64_t seq : changes.voided) {
    GW_TRY_ASSIGN(auto claim, storage_.claim_seq(seq));
    if (claim) transaction.ack(*std::move(claim));  // else it is void already
  }
  auto forget = [&](uint64_t seq) -> Result<void> {
    GW_TRY_ASSIGN(auto claim, workers_.claim_seq(seq));
    if (claim) transaction.ack(*std::move(claim));
    return {};
  };
  for (uint64_t seq : changes.forgotten) GW_TRY(forget(seq));
  for (Worker* worker : changes.records)
    if (worker->seq != 0) GW_TRY(forget(worker->seq));
  written.first_put = puts_before;
  for (auto [worker, tokens] : changes.fresh)
    for (unsigned i = 0; i < tokens; ++i) transaction.put(storage_, slot_message(*worker));
  for (Worker* worker : changes.records) transaction.put(workers_, record_message(*worker));
  written.changes = std::move(changes);
  return written;
}

void Ledger::written(ReadyTable& table, const Written& what, const CommitResult& result, int64_t now) {
  std::vector<uint64_t> fresh, records;
  size_t next = what.first_put;
  for (auto [worker, tokens] : what.changes.fresh)
    for (unsigned i = 0; i < tokens; ++i) fresh.push_back(result.puts.at(next++).seq);
  for (size_t i = 0; i < what.changes.records.size(); ++i) records.push_back(result.puts.at(next++).seq);
  table.stored(what.changes, fresh, records, now);
}

}  // namespace gw::distributor
