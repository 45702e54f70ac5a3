// The suites of the test host.
#include "host.h"

#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace test_host {
namespace {

using copycat::Json;
using Lock = std::lock_guard<std::recursive_mutex>;

thread_local const Picture* t_output = nullptr;
thread_local int t_loaned = 0;
thread_local std::string t_action;  // that the plugin was called with
thread_local Effect* t_effect = nullptr;

Effect* effect_of(OfxImageEffectHandle handle) { return reinterpret_cast<Effect*>(handle); }
Effect* effect_of(OfxParamSetHandle handle) { return reinterpret_cast<Effect*>(handle); }
Param* param_of(OfxParamHandle handle) { return reinterpret_cast<Param*>(handle); }
Clip* clip_of(OfxImageClipHandle handle) { return reinterpret_cast<Clip*>(handle); }

// -- image effect suite

OfxStatus get_property_set(OfxImageEffectHandle effect, OfxPropertySetHandle* properties) {
  if (!effect) return kOfxStatErrBadHandle;
  *properties = effect_of(effect)->properties.handle();
  return kOfxStatOK;
}

OfxStatus get_param_set(OfxImageEffectHandle effect, OfxParamSetHandle* params) {
  if (!effect) return kOfxStatErrBadHandle;
  *params = reinterpret_cast<OfxParamSetHandle>(effect);
  return kOfxStatOK;
}

OfxStatus clip_define(OfxImageEffectHandle handle, const char* name, OfxPropertySetHandle* properties) {
  Effect* effect = effect_of(handle);
  if (effect->clip(name)) {
    violations().push_back(std::string("clip ") + name + " defined twice");
    return kOfxStatErrExists;
  }
  effect->clips.push_back(std::make_unique<Clip>());
  effect->clips.back()->name = name;
  if (properties) *properties = effect->clips.back()->properties.handle();
  return kOfxStatOK;
}

OfxStatus clip_get_handle(OfxImageEffectHandle effect, const char* name, OfxImageClipHandle* clip,
                          OfxPropertySetHandle* properties) {
  Clip* found = effect_of(effect)->clip(name);
  if (!found) return kOfxStatErrBadHandle;
  if (clip) *clip = reinterpret_cast<OfxImageClipHandle>(found);
  if (properties) *properties = found->properties.handle();
  return kOfxStatOK;
}

OfxStatus clip_get_property_set(OfxImageClipHandle clip, OfxPropertySetHandle* properties) {
  *properties = clip_of(clip)->properties.handle();
  return kOfxStatOK;
}

OfxStatus clip_get_image(OfxImageClipHandle handle, OfxTime time, const OfxRectD*,
                         OfxPropertySetHandle* image) {
  Lock lock(host_mutex());
  Clip* clip = clip_of(handle);
  if (t_action != kOfxImageEffectActionRender && t_action != kOfxActionInstanceChanged)
    violations().push_back("a picture fetched in " + t_action);
  const Picture* picture = nullptr;
  if (clip->name == "Output") {
    picture = t_output;  // null where the render was aborted already
    if (t_action != kOfxImageEffectActionRender)
      violations().push_back("output image fetched outside of a render");
  } else if (const auto found = clip->pictures.find(time); found != clip->pictures.end()) {
    picture = found->second.get();
  }
  if (!picture) return kOfxStatFailed;
  auto properties = std::make_unique<PropertySet>();
  picture->fill_property_set(*properties);
  if (the_host().silent_pictures) properties->values.erase(kOfxImageEffectPropRenderScale);
  *image = properties->handle();
  the_host().loaned_images.push_back(std::move(properties));
  ++t_loaned;
  return kOfxStatOK;
}

OfxStatus clip_release_image(OfxPropertySetHandle image) {
  Lock lock(host_mutex());
  auto& loaned = the_host().loaned_images;
  for (auto it = loaned.begin(); it != loaned.end(); ++it)
    if ((*it)->handle() == image) {
      loaned.erase(it);
      --t_loaned;
      return kOfxStatOK;
    }
  violations().push_back("an image released that was not on loan");
  return kOfxStatErrBadHandle;
}

OfxStatus clip_get_region(OfxImageClipHandle handle, OfxTime time, OfxRectD* bounds) {
  Lock lock(host_mutex());
  Clip* clip = clip_of(handle);
  const auto found = clip->pictures.find(time);
  if (found == clip->pictures.end()) return kOfxStatFailed;
  const OfxRectI rod = found->second->rod();
  *bounds = {double(rod.x1), double(rod.y1), double(rod.x2), double(rod.y2)};
  return kOfxStatOK;
}

int abort_render(OfxImageEffectHandle handle) {
  Effect* effect = effect_of(handle);
  const int asked = ++effect->aborts_asked;
  return effect->abort || (effect->abort_after >= 0 && asked > effect->abort_after) ? 1 : 0;
}

OfxStatus no_memory(OfxImageEffectHandle, size_t, OfxImageMemoryHandle*) { return kOfxStatErrMemory; }
OfxStatus no_memory_handle(OfxImageMemoryHandle) { return kOfxStatErrBadHandle; }
OfxStatus no_memory_lock(OfxImageMemoryHandle, void**) { return kOfxStatErrBadHandle; }

const OfxImageEffectSuiteV1 kEffectSuite = {
    get_property_set, get_param_set,      clip_define,     clip_get_handle, clip_get_property_set,
    clip_get_image,   clip_release_image, clip_get_region, abort_render,    no_memory,
    no_memory_handle, no_memory_lock,     no_memory_handle};

// -- parameter suite

OfxStatus param_define(OfxParamSetHandle set, const char* type, const char* name,
                       OfxPropertySetHandle* properties) {
  Effect* effect = effect_of(set);
  if (effect->param(name)) {
    violations().push_back(std::string("parameter ") + name + " defined twice");
    return kOfxStatErrExists;
  }
  auto param = std::make_unique<Param>();
  param->name = name;
  param->type = type;
  if (properties) *properties = param->properties.handle();
  effect->params.push_back(std::move(param));
  return kOfxStatOK;
}

OfxStatus param_get_handle(OfxParamSetHandle set, const char* name, OfxParamHandle* handle,
                           OfxPropertySetHandle* properties) {
  Param* param = effect_of(set)->param(name);
  if (!param) return kOfxStatErrUnknown;
  if (handle) *handle = reinterpret_cast<OfxParamHandle>(param);
  if (properties) *properties = param->properties.handle();
  return kOfxStatOK;
}

OfxStatus param_set_properties(OfxParamSetHandle set, OfxPropertySetHandle* properties) {
  *properties = effect_of(set)->param_set_properties.handle();
  return kOfxStatOK;
}

OfxStatus param_properties(OfxParamHandle handle, OfxPropertySetHandle* properties) {
  *properties = param_of(handle)->properties.handle();
  return kOfxStatOK;
}

OfxStatus read_value(Param* param, va_list arguments) {
  Lock lock(host_mutex());
  if (int* integer = std::get_if<int>(&param->value)) {
    *va_arg(arguments, int*) = *integer;
  } else if (double* number = std::get_if<double>(&param->value)) {
    *va_arg(arguments, double*) = *number;
  } else if (auto* text = std::get_if<std::string>(&param->value)) {
    *va_arg(arguments, char**) = text->data();
  } else {
    return kOfxStatErrUnsupported;
  }
  return kOfxStatOK;
}

OfxStatus param_get(OfxParamHandle handle, ...) {
  if (t_action != kOfxActionInstanceChanged)
    violations().push_back("a value read without a time in " + t_action);
  va_list arguments;
  va_start(arguments, handle);
  const OfxStatus status = read_value(param_of(handle), arguments);
  va_end(arguments);
  return status;
}

OfxStatus param_get_at(OfxParamHandle handle, OfxTime time, ...) {
  va_list arguments;
  va_start(arguments, time);
  const OfxStatus status = read_value(param_of(handle), arguments);
  va_end(arguments);
  return status;
}

// An InstanceChanged inside of another one. The plugin must leave it alone.
void change_within(Effect* effect, const std::string& param, const std::string& reason) {
  PropertySet in;
  in.put(kOfxPropType, std::string(kOfxTypeParameter));
  in.put(kOfxPropName, param);
  in.put(kOfxPropChangeReason, reason);
  in.put(kOfxPropTime, 0.0);
  if (effect->plugin->mainEntry(kOfxActionInstanceChanged, effect, in.handle(), nullptr) !=
      kOfxStatReplyDefault)
    violations().push_back("acted on a change of " + param + " within another");
}

OfxStatus param_set(OfxParamHandle handle, ...) {
  Param* param = param_of(handle);
  if (t_action != kOfxActionInstanceChanged) {
    violations().push_back("parameter " + param->name + " set outside of InstanceChanged");
    return kOfxStatFailed;
  }
  {
    Lock lock(host_mutex());
    va_list arguments;
    va_start(arguments, handle);
    if (std::holds_alternative<int>(param->value)) param->value = va_arg(arguments, int);
    if (std::holds_alternative<double>(param->value)) param->value = va_arg(arguments, double);
    if (std::holds_alternative<std::string>(param->value))
      param->value = std::string(va_arg(arguments, const char*));
    va_end(arguments);
  }
  change_within(t_effect, param->name, the_host().echo);  // at once, as the reference host does
  return kOfxStatOK;
}

OfxStatus param_set_at(OfxParamHandle, OfxTime, ...) { return kOfxStatErrUnsupported; }
OfxStatus no_derivative(OfxParamHandle, OfxTime, ...) { return kOfxStatErrUnsupported; }
OfxStatus no_integral(OfxParamHandle, OfxTime, OfxTime, ...) { return kOfxStatErrUnsupported; }
OfxStatus no_keys(OfxParamHandle, unsigned int* count) {
  *count = 0;
  return kOfxStatOK;
}
OfxStatus no_key_time(OfxParamHandle, unsigned int, OfxTime*) { return kOfxStatErrBadIndex; }
OfxStatus no_key_index(OfxParamHandle, OfxTime, int, int*) { return kOfxStatFailed; }
OfxStatus no_delete(OfxParamHandle, OfxTime) { return kOfxStatErrBadIndex; }
OfxStatus no_delete_all(OfxParamHandle) { return kOfxStatOK; }
OfxStatus no_copy(OfxParamHandle, OfxParamHandle, OfxTime, const OfxRangeD*) {
  return kOfxStatErrUnsupported;
}
OfxStatus edit_begin(OfxParamSetHandle, const char*) { return kOfxStatOK; }
OfxStatus edit_end(OfxParamSetHandle) { return kOfxStatOK; }

const OfxParameterSuiteV1 kParameterSuite = {param_define,     param_get_handle, param_set_properties,
                                             param_properties, param_get,        param_get_at,
                                             no_derivative,    no_integral,      param_set,
                                             param_set_at,     no_keys,          no_key_time,
                                             no_key_index,     no_delete,        no_delete_all,
                                             no_copy,          edit_begin,       edit_end};

// -- messages, progress, time line

void record(const char* kind, const char* type, const std::string& text) {
  Lock lock(host_mutex());
  Json message = Json::object();
  message.set("kind", kind).set("type", type ? type : "").set("text", text);
  the_host().messages.push_back(std::move(message));
}

// Natron 2.5 formats without the arguments, so that a message may have none: its only conversion is %%.
std::string formatted(const char* format, va_list arguments) {
  for (const char* at = std::strchr(format, '%'); at; at = std::strchr(at + 2, '%')) {
    if (at[1] == '%') continue;
    violations().push_back(std::string("a message that needs arguments: ") + format);
    break;
  }
  char text[4096];
  std::vsnprintf(text, sizeof text, format, arguments);
  return text;
}

OfxStatus show(void*, const char* type, const char*, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  record("message", type, formatted(format, arguments));
  va_end(arguments);
  return std::strcmp(type, kOfxMessageQuestion) == 0 ? the_host().question_answer : kOfxStatOK;
}

OfxStatus show_persistent(void* effect, const char* type, const char*, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  record("persistent", type, formatted(format, arguments));
  va_end(arguments);
  if (the_host().draws_at_once) {
    PropertySet in, out;
    in.put(kOfxPropTime, 1.0);
    static_cast<Effect*>(effect)->plugin->mainEntry(kOfxImageEffectActionIsIdentity, effect, in.handle(),
                                                    out.handle());
  }
  return kOfxStatOK;
}

OfxStatus clear_persistent(void*) {
  record("persistent", "", "");
  return kOfxStatOK;
}

OfxStatus progress_start1(void*, const char*) {
  if (the_host().progress_shown) violations().push_back("two progress bars at once");
  the_host().progress_shown = true;
  return kOfxStatOK;
}

OfxStatus progress_start2(void* effect, const char* label, const char*) {
  return progress_start1(effect, label);
}

OfxStatus progress_update(void*, double progress) {
  if (the_host().presses_twice) change_within(t_effect, "startTraining", kOfxChangeUserEdited);
  auto& steps = the_host().progress;
  const std::chrono::duration<double> now = std::chrono::steady_clock::now().time_since_epoch();
  if (steps.empty() || steps.back().second != progress) steps.emplace_back(now.count(), progress);
  return progress >= the_host().cancel_progress_at ? kOfxStatReplyNo : kOfxStatReplyYes;
}

OfxStatus progress_end(void*) {
  the_host().progress_shown = false;
  return kOfxStatOK;
}

OfxStatus get_time(void*, double* time) {
  *time = 1;
  return kOfxStatOK;
}
OfxStatus go_to_time(void*, double) { return kOfxStatOK; }
OfxStatus time_bounds(void*, double* first, double* last) {
  *first = 1;
  *last = 100;
  return kOfxStatOK;
}

const OfxMessageSuiteV1 kMessageSuite1 = {show};
const OfxMessageSuiteV2 kMessageSuite2 = {show, show_persistent, clear_persistent};
const OfxMessageSuiteV2 kHollowMessageSuite2 = {show, nullptr, nullptr};  // as an old Resolve has it
const OfxProgressSuiteV1 kProgressSuite1 = {progress_start1, progress_update, progress_end};
const OfxProgressSuiteV2 kProgressSuite2 = {progress_start2, progress_update, progress_end};
const OfxTimeLineSuiteV1 kTimeLineSuite = {get_time, go_to_time, time_bounds};

const void* fetch_suite(OfxPropertySetHandle, const char* name, int version) {
  if (the_host().missing_suites.count(name)) return nullptr;
  const std::string suite = name;
  if (suite == kOfxPropertySuite && version == 1) return property_suite();
  if (suite == kOfxImageEffectSuite && version == 1) return &kEffectSuite;
  if (suite == kOfxParameterSuite && version == 1) return &kParameterSuite;
  if (suite == kOfxMessageSuite && version == 1) return &kMessageSuite1;
  if (suite == kOfxMessageSuite && version == 2 &&
      the_host().properties.text(kOfxPropName) == "openfx-driver")
    violations().push_back("this host would have ended itself");
  if (suite == kOfxMessageSuite && version == 2)
    return the_host().missing_suites.count("persistent") ? &kHollowMessageSuite2 : &kMessageSuite2;
  if (suite == kOfxProgressSuite && version == 1) return &kProgressSuite1;
  if (suite == kOfxProgressSuite && version == 2)
    return the_host().missing_suites.count("progress2") ? nullptr : &kProgressSuite2;
  if (suite == kOfxTimeLineSuite && version == 1) return &kTimeLineSuite;
  return nullptr;
}

}  // namespace

Param* Effect::param(const std::string& name) {
  for (auto& param : params)
    if (param->name == name) return param.get();
  return nullptr;
}

Clip* Effect::clip(const std::string& name) {
  for (auto& clip : clips)
    if (clip->name == name) return clip.get();
  return nullptr;
}

Host& the_host() {
  static Host host;
  if (!host.host.fetchSuite) {
    host.host.host = host.properties.handle();
    host.host.fetchSuite = fetch_suite;
    host.properties.put(kOfxPropType, std::string(kOfxTypeImageEffectHost));
    host.properties.put(kOfxPropName, std::string("org.copycat.test-host"));
    host.properties.put(kOfxImageEffectPropTemporalClipAccess, 1);
  }
  return host;
}

void set_output_of_this_thread(const Picture* picture) { t_output = picture; }

OfxStatus call(Effect* effect, OfxPlugin* plugin, const char* action, PropertySet* in, PropertySet* out) {
  t_action = action;
  t_effect = effect;
  t_loaned = 0;
  const OfxStatus status =
      plugin->mainEntry(action, effect, in ? in->handle() : nullptr, out ? out->handle() : nullptr);
  t_action.clear();
  if (t_loaned != 0) violations().push_back(std::string("images not released at the end of ") + action);
  if (the_host().progress_shown) violations().push_back("a progress bar left open");
  return status;
}

}  // namespace test_host
