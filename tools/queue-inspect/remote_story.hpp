// trace --remote: what happened to a message on the other side of the gateway, by the commands that the configuration names.
#pragma once

#include <vector>

#include "config.hpp"
#include "story.hpp"
#include "tool.hpp"

namespace gw::inspect {

class RemoteStories {
 public:
  /// config: no site has a command.
  static Result<RemoteStories> read(const CommonOptions& common);
  /// Asks the sites that the story is about, and puts what they say among its events. False: one of them could not be asked, which was
  /// told.
  bool add_to(Story& story) const;

 private:
  std::vector<const SiteConfig*> sites_of(const Story& story) const;
  static Result<std::vector<JournalRecord>> ask(const SiteConfig& site, const std::string& id);
  std::vector<SiteConfig> sites_;
};

}  // namespace gw::inspect
