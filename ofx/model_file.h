// Reads the channels of a .cat without the worker: choosing a Model File must not wait for its start.
#pragma once

#include <optional>
#include <string>

namespace copycat {

struct Channels {
  std::string in, out;  // names, as in "R, G, B"
};

// The channels in the header of a .cat (the format is in python/copycat/model/cat.py). None where only the
// worker can tell which file it is: a Data Directory, a checkpoint that is gone, another user's home.
// Throws std::runtime_error that names the file when it cannot be read or is no .cat.
std::optional<Channels> read_channels(const std::string& model_file);

}  // namespace copycat
