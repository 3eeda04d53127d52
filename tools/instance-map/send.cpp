#include "send.hpp"

#include <algorithm>

#include "config.hpp"
#include "dedup_store.hpp"
#include "forwarder_hint.hpp"
#include "json.hpp"
#include "store_drafts.hpp"

namespace gw::instance_map {

namespace {

Error usage(std::string text) { return Error{ExitCode::usage, 0, std::move(text)}; }

/// Stores drafts, each where its type goes.
class Storer {
 public:
  Storer(Root& root, Router& router, std::string to, const CommonOptions& common)
      : root_(root), router_(router), to_(std::move(to)), hint_(root, common) {}
  Result<std::vector<PutOutcome>> operator()(std::vector<Draft>& drafts);

 private:
  struct Way {
    Group* group = nullptr;  // nullptr: it has an error
    std::optional<size_t> index;
  };
  Way begin(Draft& draft);
  std::optional<size_t> where_before(Draft& draft, Group& group);
  Result<void> choose(const std::vector<Draft>& drafts, std::vector<Way>& ways);
  DraftPlace place_of(Draft& draft, const Way& way);

  Root& root_;
  Router& router_;
  std::string to_;
  ForwarderHint hint_;
  std::unique_ptr<DedupStore> ids_;
};

Storer::Way Storer::begin(Draft& draft) {
  auto group = to_.empty() ? router_.of_types(draft.message.headers.get(header::enclosed_message_types)) : router_.of_address(to_);
  if (!group) {
    draft.error = std::move(group).error();
    return {};
  }
  Way way{*group, std::nullopt};
  if ((*group)->direct || (*group)->target.addresses.size() == 1) way.index = 0;
  else if (draft.key_id) way.index = where_before(draft, **group);
  return way;
}

// An id that was sent before takes no turn: it went somewhere then, and the store of ids says what that means now.
std::optional<size_t> Storer::where_before(Draft& draft, Group& group) {
  if (!ids_) {
    auto opened = DedupStore::open(root_.path(), std::string(local_dedup_store), false);
    if (!opened) return std::nullopt;
    ids_ = *std::move(opened);
  }
  auto row = ids_->find(scope_of_endpoint(group.target.endpoint), draft.message.id());
  if (!row || !*row) return std::nullopt;
  for (size_t i = 0; i < group.target.addresses.size(); ++i) {
    auto found = router_.find(group, i);
    if (found && (*found)->queue.name() == (*row)->queue) return i;
  }
  return std::nullopt;
}

Result<void> Storer::choose(const std::vector<Draft>& drafts, std::vector<Way>& ways) {
  std::vector<size_t> members;
  std::vector<MessageToRoute> messages;
  for (size_t begin = 0; begin < ways.size(); ++begin) {
    Group* group = ways[begin].group;
    if (!group || ways[begin].index) continue;
    members.clear();
    messages.clear();
    for (size_t i = begin; i < ways.size(); ++i) {
      if (ways[i].group != group || ways[i].index) continue;
      members.push_back(i);
      MessageToRoute& message = messages.emplace_back();
      if (group->strategy.kind != Strategy::Kind::command) continue;
      message.id = drafts[i].message.id();
      message.type = message_type(drafts[i].message.headers);
    }
    GW_TRY_ASSIGN(auto chosen, router_.choose(*group, messages));
    for (size_t i = 0; i < members.size(); ++i) ways[members[i]].index = chosen[i];
  }
  return {};
}

DraftPlace Storer::place_of(Draft& draft, const Way& way) {
  if (draft.error) return {};
  auto found = router_.find(*way.group, *way.index);
  if (!found) {
    draft.error = std::move(found).error();
    return {};
  }
  hint_.look(**found);
  draft.endpoint = way.group->target.endpoint;
  draft.address = way.group->target.addresses[*way.index];
  return {*found, !way.group->direct && draft.key_id ? scope_of_endpoint(draft.endpoint) : std::string()};
}

Result<std::vector<PutOutcome>> Storer::operator()(std::vector<Draft>& drafts) {
  GW_TRY(router_.refresh());
  std::vector<Way> ways;
  ways.reserve(drafts.size());
  for (Draft& draft : drafts) ways.push_back(begin(draft));
  GW_TRY(choose(drafts, ways));
  std::vector<DraftPlace> places;
  places.reserve(drafts.size());
  for (size_t i = 0; i < drafts.size(); ++i) {
    places.push_back(place_of(drafts[i], ways[i]));
    if (places.back().to && !ways[i].group->direct) GW_TRY(router_.map().stamp(drafts[i].endpoint, drafts[i].message.headers));
  }
  return store_drafts(root_, places, drafts);
}

Result<void> check_options(const SendOptions& options) {
  const SelectionOptions& sel = options.selection;
  for (const auto& [given, name] : {std::pair{!sel.where.empty(), "--where"}, {!sel.group.empty(), "--group"}, {sel.all, "--all"}, {sel.max != 0, "--max"}})
    if (given) return usage(std::string(name) + " chooses messages of a queue: it goes with --from QUEUE");
  if (!options.to.empty() && !options.strategy.empty()) return usage("--to and --strategy exclude each other: one address leaves no choice");
  if (sel.words.size() > 1) return usage("'" + sel.words[1] + "': one FILE is one message");
  const MessageOptions& message = options.message;
  const auto names_types = [](const std::string& text) { return text.starts_with(std::string(header::enclosed_message_types) + "="); };
  if (message.type.empty() && options.to.empty() && std::none_of(message.headers.begin(), message.headers.end(), names_types))
    return usage("--type is required: it says where the message goes (or --to ADDR)");
  return {};
}

/// --dry-run: where the message would go and what it would be. Stores nothing, takes no turn.
Result<ExitCode> show_only(Root& root, Router& router, MessageSource& source, const SendOptions& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(auto preview, source.preview(root.machine(), options.endpoint));
  Message& message = preview.message;
  GW_TRY_ASSIGN(Group* group, options.to.empty() ? router.of_types(message.headers.get(header::enclosed_message_types)) : router.of_address(options.to));
  GW_TRY_ASSIGN(const size_t index, router.preview(*group, {message.id(), message_type(message.headers)}));
  GW_TRY(router.find(*group, index));
  const std::string& address = group->target.addresses[index];
  if (!common.json) {
    out(group->target.endpoint + "\t" + address + "\t" + std::to_string(preview.body_bytes) + "\n" + headers_to_text(message.headers));
    return ExitCode::ok;
  }
  JsonObject headers, object;
  for (const auto& [name, value] : message.headers.entries()) headers.add(name, value);
  object.add("endpoint", group->target.endpoint).add("address", address).add("body_bytes", preview.body_bytes);
  object.add_time("due_at", preview.due_at_ms).add_raw("headers", headers.str());
  out(object.str() + "\n");
  return ExitCode::ok;
}

}  // namespace

Result<ExitCode> send(const SendOptions& said, const CommonOptions& common) {
  if (!said.from.empty()) return send_from(said, common);
  SendOptions given = said;
  GW_TRY(check_options(given));
  if (given.endpoint.empty()) {
    GW_TRY_ASSIGN(const Config config, load_config(common.config, common.config_given));
    given.endpoint = config.endpoint;
  }
  GW_TRY_ASSIGN(const MapSettings settings, map_settings(given.map, common));
  MessageOptions words = given.message;
  if (!given.selection.words.empty()) words.file = given.selection.words[0];
  GW_TRY_ASSIGN(MessageSource source, MessageSource::open_files(words, common));
  GW_TRY_ASSIGN(auto root, open_root(common, true));
  GW_TRY_ASSIGN(auto router, Router::open(*root, settings, given.strategy, common.config, common.config_given));
  if (common.dry_run) return show_only(*root, *router, source, given, common);
  Storer store(*root, *router, given.to, common);
  // Who waits for its next line must not be taken for one that still uses the map of before.
  source.on_idle([&router] { return router->refresh(); });
  return source.run(*root, given.endpoint, [&](std::vector<Draft>& drafts) { return store(drafts); });
}

}  // namespace gw::instance_map
