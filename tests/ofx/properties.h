// Property sets of the test host. Like the strictest hosts it has no defaults: a property exists once it is
// set.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "abi.h"
#include "json.h"

namespace test_host {

using Value = std::variant<int, double, std::string, void*>;

struct PropertySet {
  std::map<std::string, std::vector<Value>> values;

  OfxPropertySetHandle handle() { return reinterpret_cast<OfxPropertySetHandle>(this); }
  void put(const std::string& name, Value value, std::size_t index = 0);
  void put_rectangle(const std::string& name, const OfxRectI& r);
  std::string text(const std::string& name, std::size_t index = 0) const;
  int integer(const std::string& name, int fallback = 0, std::size_t index = 0) const;
  double number(const std::string& name, double fallback = 0, std::size_t index = 0) const;
  copycat::Json to_json() const;
};

PropertySet* from_handle(OfxPropertySetHandle handle);
const OfxPropertySuiteV1* property_suite();

// Held during every call into the host, which several threads make.
std::recursive_mutex& host_mutex();

// Properties that this host does not know: setting and getting them fails.
std::set<std::string>& unknown_properties();

// What the plugin did that the standard forbids.
std::vector<std::string>& violations();

}  // namespace test_host
