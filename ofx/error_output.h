// What the worker writes to its error output, in bounded memory.
#pragma once

#include <string>
#include <string_view>

namespace copycat {

// The beginning and the end of a text of any length. One thread at a time.
class ErrorOutput {
 public:
  void append(std::string_view bytes);
  // Beginning and end, with a line between them that counts what was left out.
  std::string text() const;
  // The last line that is not empty, shortened to what a message can show; of a Python traceback the error.
  std::string last_line() const;

 private:
  std::string head_, tail_;
  std::size_t left_out_ = 0;  // bytes
};

}  // namespace copycat
