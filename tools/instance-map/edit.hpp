// Changing the map: add, remove. Everything else in the file stays as it is, byte for byte.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "options.hpp"

namespace gw::instance_map {

Result<ExitCode> add_instance(const EditOptions& options, const CommonOptions& common);
Result<ExitCode> remove_instance(const EditOptions& options, const CommonOptions& common);

/// What is to be read as a map, and for whom.
struct MapText {
  std::string path, text, this_machine;
  InstanceTable::Schema schema = InstanceTable::Schema::strict;
};
/// The text with one more instance; nullopt: it has it already. config: the text is no valid map.
Result<std::optional<std::string>> with_instance(const MapText& map, const std::string& endpoint, const std::string& address);
/// The text without the instances of this address; nullopt: there is none. An endpoint without instances goes, too.
Result<std::optional<std::string>> without_instance(const MapText& map, const std::string& address);

/// Gives `change` the text of the file and puts what it makes of it in the file's place, atomically and durably, with its mode and owner.
/// A link is followed: its target is replaced. Others that do the same wait. False: `change` made nothing. Errors: nothing has changed.
using ChangeText = std::function<Result<std::optional<std::string>>(const std::string& text)>;
Result<bool> edit_file(const std::string& path, const ChangeText& change);

/// QUEUE@MACHINE, with this machine's name if none is given. usage: it is no address.
Result<std::string> full_map_address(const std::string& address, const std::string& this_machine);

}  // namespace gw::instance_map
