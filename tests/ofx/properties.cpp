// The property suite of the test host.
#include "properties.h"

namespace test_host {
namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

template <typename T>
OfxStatus set(OfxPropertySetHandle handle, const char* name, int index, T value) {
  Lock lock(host_mutex());
  if (!handle || !name) return kOfxStatErrBadHandle;
  if (unknown_properties().count(name)) return kOfxStatErrUnknown;
  if (index < 0) return kOfxStatErrBadIndex;
  auto& values = from_handle(handle)->values[name];
  if (static_cast<std::size_t>(index) > values.size()) return kOfxStatErrBadIndex;  // no gaps
  if (!values.empty() && values[0].index() != Value(value).index()) {
    violations().push_back(std::string("property ") + name + " set with another type");
    return kOfxStatErrValue;
  }
  if (static_cast<std::size_t>(index) == values.size()) values.emplace_back();
  values[static_cast<std::size_t>(index)] = value;
  return kOfxStatOK;
}

template <typename T>
OfxStatus get(OfxPropertySetHandle handle, const char* name, int index, T* value) {
  Lock lock(host_mutex());
  if (!handle || !name || !value) return kOfxStatErrBadHandle;
  if (unknown_properties().count(name)) return kOfxStatErrUnknown;
  auto& all = from_handle(handle)->values;
  const auto found = all.find(name);
  if (found == all.end()) return kOfxStatErrUnknown;
  if (index < 0 || static_cast<std::size_t>(index) >= found->second.size()) return kOfxStatErrBadIndex;
  Value& held = found->second[static_cast<std::size_t>(index)];
  if constexpr (std::is_same_v<T, char*>) {
    auto* text = std::get_if<std::string>(&held);
    if (!text) return kOfxStatErrValue;
    *value = text->data();
  } else {
    const T* typed = std::get_if<T>(&held);
    if (!typed) return kOfxStatErrValue;
    *value = *typed;
  }
  return kOfxStatOK;
}

template <typename T, typename Stored>
OfxStatus set_many(OfxPropertySetHandle handle, const char* name, int count, const T* values) {
  for (int i = 0; i < count; ++i)
    if (const OfxStatus status = set(handle, name, i, Stored(values[i])); status != kOfxStatOK) return status;
  return kOfxStatOK;
}

template <typename T>
OfxStatus get_many(OfxPropertySetHandle handle, const char* name, int count, T* values) {
  for (int i = 0; i < count; ++i)
    if (const OfxStatus status = get(handle, name, i, values + i); status != kOfxStatOK) return status;
  return kOfxStatOK;
}

OfxStatus set_pointer(OfxPropertySetHandle h, const char* n, int i, void* v) { return set(h, n, i, v); }
OfxStatus set_string(OfxPropertySetHandle h, const char* n, int i, const char* v) {
  return set(h, n, i, std::string(v ? v : ""));
}
OfxStatus set_double(OfxPropertySetHandle h, const char* n, int i, double v) { return set(h, n, i, v); }
OfxStatus set_int(OfxPropertySetHandle h, const char* n, int i, int v) { return set(h, n, i, v); }
OfxStatus set_pointers(OfxPropertySetHandle h, const char* n, int c, void* const* v) {
  return set_many<void*, void*>(h, n, c, v);
}
OfxStatus set_strings(OfxPropertySetHandle h, const char* n, int c, const char* const* v) {
  return set_many<const char*, std::string>(h, n, c, v);
}
OfxStatus set_doubles(OfxPropertySetHandle h, const char* n, int c, const double* v) {
  return set_many<double, double>(h, n, c, v);
}
OfxStatus set_ints(OfxPropertySetHandle h, const char* n, int c, const int* v) {
  return set_many<int, int>(h, n, c, v);
}
OfxStatus get_pointer(OfxPropertySetHandle h, const char* n, int i, void** v) { return get(h, n, i, v); }
OfxStatus get_string(OfxPropertySetHandle h, const char* n, int i, char** v) { return get(h, n, i, v); }
OfxStatus get_double(OfxPropertySetHandle h, const char* n, int i, double* v) { return get(h, n, i, v); }
OfxStatus get_int(OfxPropertySetHandle h, const char* n, int i, int* v) { return get(h, n, i, v); }
OfxStatus get_pointers(OfxPropertySetHandle h, const char* n, int c, void** v) {
  return get_many(h, n, c, v);
}
OfxStatus get_strings(OfxPropertySetHandle h, const char* n, int c, char** v) { return get_many(h, n, c, v); }
OfxStatus get_doubles(OfxPropertySetHandle h, const char* n, int c, double* v) {
  return get_many(h, n, c, v);
}
OfxStatus get_ints(OfxPropertySetHandle h, const char* n, int c, int* v) { return get_many(h, n, c, v); }

OfxStatus reset(OfxPropertySetHandle handle, const char* name) {
  Lock lock(host_mutex());
  return handle && from_handle(handle)->values.erase(name) ? kOfxStatOK : kOfxStatErrUnknown;
}

OfxStatus dimension(OfxPropertySetHandle handle, const char* name, int* count) {
  Lock lock(host_mutex());
  if (!handle) return kOfxStatErrBadHandle;
  auto& all = from_handle(handle)->values;
  const auto found = all.find(name);
  if (found == all.end()) return kOfxStatErrUnknown;
  *count = static_cast<int>(found->second.size());
  return kOfxStatOK;
}

}  // namespace

std::recursive_mutex& host_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

std::set<std::string>& unknown_properties() {
  static std::set<std::string> names;
  return names;
}

std::vector<std::string>& violations() {
  static std::vector<std::string> list;
  return list;
}

PropertySet* from_handle(OfxPropertySetHandle handle) { return reinterpret_cast<PropertySet*>(handle); }

void PropertySet::put(const std::string& name, Value value, std::size_t index) {
  auto& held = values[name];
  if (held.size() <= index) held.resize(index + 1);
  held[index] = std::move(value);
}

void PropertySet::put_rectangle(const std::string& name, const OfxRectI& r) {
  values[name] = {r.x1, r.y1, r.x2, r.y2};
}

std::string PropertySet::text(const std::string& name, std::size_t index) const {
  const auto found = values.find(name);
  if (found == values.end() || index >= found->second.size()) return {};
  const auto* held = std::get_if<std::string>(&found->second[index]);
  return held ? *held : std::string();
}

int PropertySet::integer(const std::string& name, int fallback, std::size_t index) const {
  const auto found = values.find(name);
  if (found == values.end() || index >= found->second.size()) return fallback;
  const int* held = std::get_if<int>(&found->second[index]);
  return held ? *held : fallback;
}

double PropertySet::number(const std::string& name, double fallback, std::size_t index) const {
  const auto found = values.find(name);
  if (found == values.end() || index >= found->second.size()) return fallback;
  const double* held = std::get_if<double>(&found->second[index]);
  return held ? *held : fallback;
}

copycat::Json PropertySet::to_json() const {
  using copycat::Json;
  Json all = Json::object();
  for (const auto& [name, held] : values) {
    Json list = Json::array();
    for (const Value& value : held) {
      if (const int* integer = std::get_if<int>(&value)) list.append(*integer);
      if (const double* number = std::get_if<double>(&value)) list.append(*number);
      if (const auto* text = std::get_if<std::string>(&value)) list.append(*text);
    }
    all.set(name, std::move(list));
  }
  return all;
}

const OfxPropertySuiteV1* property_suite() {
  static const OfxPropertySuiteV1 suite = {set_pointer, set_string,  set_double,   set_int,     set_pointers,
                                           set_strings, set_doubles, set_ints,     get_pointer, get_string,
                                           get_double,  get_int,     get_pointers, get_strings, get_doubles,
                                           get_ints,    reset,       dimension};
  return &suite;
}

}  // namespace test_host
