// The test host as a program: reads one JSON command a line, answers each with one line.
// Over 400 lines: one function for each command of the host.
#include <dirent.h>
#include <dlfcn.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <thread>

#include "host.h"

namespace test_host {
namespace {

using copycat::Json;

struct Loaded {
  void* library = nullptr;
  int (*count)() = nullptr;
  OfxPlugin* (*get)(int) = nullptr;
};

Loaded g_loaded;
std::map<std::string, std::unique_ptr<Effect>> g_effects;

template <typename Function>
Function symbol(const char* name) {
  auto* found = reinterpret_cast<Function>(dlsym(g_loaded.library, name));
  if (!found) throw std::runtime_error(std::string("no symbol ") + name);
  return found;
}

OfxPlugin* plugin_called(const std::string& identifier) {
  for (int i = 0; i < g_loaded.count(); ++i)
    if (g_loaded.get(i)->pluginIdentifier == "org.copycat." + identifier) return g_loaded.get(i);
  throw std::runtime_error("no plugin " + identifier);
}

Effect& effect_called(const Json& command) {
  const auto found = g_effects.find(command["instance"].text("it"));
  if (found == g_effects.end()) throw std::runtime_error("no instance " + command["instance"].text());
  return *found->second;
}

Json status_answer(OfxStatus status) {
  Json answer = Json::object();
  answer.set("status", status);
  return answer;
}

Json load(const Json& command) {
  g_loaded.library = dlopen(command["path"].text().c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!g_loaded.library) throw std::runtime_error(dlerror());
  g_loaded.count = symbol<int (*)()>("OfxGetNumberOfPlugins");
  g_loaded.get = symbol<OfxPlugin* (*)(int)>("OfxGetPlugin");
  symbol<OfxStatus (*)(const OfxHost*)>("OfxSetHost")(&the_host().host);
  for (const Json& suite : command["missing"].items()) the_host().missing_suites.insert(suite.text());
  for (const Json& name : command["unknown"].items()) unknown_properties().insert(name.text());
  const std::pair<const char*, const char*> numbers[] = {{"temporal", kOfxImageEffectPropTemporalClipAccess},
                                                         {"pages", "OfxParamHostPropMaxPages"},
                                                         {"background", kOfxImageEffectHostPropIsBackground}};
  for (const auto& [name, property] : numbers)
    if (command.has(name)) the_host().properties.put(property, static_cast<int>(command[name].number()));
  if (command.has("name")) the_host().properties.put(kOfxPropName, command["name"].text());
  the_host().echo = command["echo"].text(kOfxChangePluginEdited);
  the_host().draws_at_once = command["draws_at_once"].boolean();
  the_host().silent_pictures = command["silent_pictures"].boolean();
  the_host().presses_twice = command["presses_twice"].boolean();
  Json statuses = Json::array(), names = Json::array();
  for (int i = 0; i < g_loaded.count(); ++i) {
    OfxPlugin* plugin = g_loaded.get(i);
    plugin->setHost(&the_host().host);
    names.append(plugin->pluginIdentifier);
    statuses.append(call(nullptr, plugin, kOfxActionLoad, nullptr, nullptr));
  }
  Json answer = Json::object();
  answer.set("plugins", names).set("status", statuses);
  return answer;
}

Json unload(const Json&) {
  Json statuses = Json::array();
  for (int i = 0; i < g_loaded.count(); ++i)
    statuses.append(call(nullptr, g_loaded.get(i), kOfxActionUnload, nullptr, nullptr));
  dlclose(g_loaded.library);
  Json answer = Json::object();
  answer.set("status", statuses);
  return answer;
}

std::unique_ptr<Effect> described(const Json& command, OfxStatus& status) {
  auto effect = std::make_unique<Effect>();
  effect->plugin = plugin_called(command["plugin"].text());
  status = call(effect.get(), effect->plugin, kOfxActionDescribe, nullptr, nullptr);
  if (status != kOfxStatOK) return effect;
  PropertySet in;
  const std::string context = "OfxImageEffectContext" + command["context"].text("General");
  in.put(kOfxImageEffectPropContext, context);
  status = call(effect.get(), effect->plugin, kOfxImageEffectActionDescribeInContext, &in, nullptr);
  if (!command["context_unsaid"].boolean()) effect->properties.put(kOfxImageEffectPropContext, context);
  return effect;
}

Json describe(const Json& command) {
  OfxStatus status;
  const auto effect = described(command, status);
  Json answer = status_answer(status), clips = Json::object(), params = Json::array();
  for (const auto& clip : effect->clips) clips.set(clip->name, clip->properties.to_json());
  for (const auto& param : effect->params) {
    Json row = param->properties.to_json();
    row.set("name", param->name).set("type", param->type);
    params.append(std::move(row));
  }
  answer.set("effect", effect->properties.to_json()).set("clips", clips).set("params", params);
  answer.set("param_set", effect->param_set_properties.to_json());
  return answer;
}

void give_default(Param& param) {
  const auto held = param.properties.values.find(kOfxParamPropDefault);
  if (held != param.properties.values.end() && !held->second.empty()) param.value = held->second[0];
}

// With "project", as a project is loaded that was saved with that instance: what persists is there before
// CreateInstance, without an InstanceChanged.
Json create(const Json& command) {
  OfxStatus status;
  auto effect = described(command, status);
  effect->is_instance = true;
  Effect* saved = command.has("project") ? g_effects.at(command["project"].text()).get() : nullptr;
  for (auto& param : effect->params) {
    give_default(*param);
    if (saved && param->properties.integer(kOfxParamPropPersistant, 1))
      param->value = saved->param(param->name)->value;
  }
  status = call(effect.get(), effect->plugin, kOfxActionCreateInstance, nullptr, nullptr);
  g_effects[command["instance"].text("it")] = std::move(effect);
  return status_answer(status);
}

Json destroy(const Json& command) {
  Effect& effect = effect_called(command);
  const OfxStatus status = call(&effect, effect.plugin, kOfxActionDestroyInstance, nullptr, nullptr);
  g_effects.erase(command["instance"].text("it"));
  return status_answer(status);
}

void set_value(Effect& effect, const std::string& name, const Json& value) {
  Param* param = effect.param(name);
  if (!param) throw std::runtime_error("no parameter " + name);
  if (value.type() == Json::Type::text && param->type == kOfxParamTypeChoice) {
    const auto& options = param->properties.values[kOfxParamPropChoiceOption];
    for (std::size_t i = 0; i < options.size(); ++i)
      if (std::get<std::string>(options[i]) == value.text()) param->value = static_cast<int>(i);
  } else if (value.type() == Json::Type::text) {
    param->value = value.text();
  } else if (value.type() == Json::Type::boolean) {
    param->value = value.boolean() ? 1 : 0;
  } else if (std::holds_alternative<double>(param->value)) {
    param->value = value.number();
  } else {
    param->value = static_cast<int>(value.number());
  }
}

Json set(const Json& command) {
  set_value(effect_called(command), command["param"].text(), command["value"]);
  return Json::object();
}

Json get(const Json& command) {
  Param* param = effect_called(command).param(command["param"].text());
  if (!param) throw std::runtime_error("no parameter " + command["param"].text());
  Json answer = Json::object();
  if (const int* integer = std::get_if<int>(&param->value)) answer.set("value", *integer);
  if (const double* number = std::get_if<double>(&param->value)) answer.set("value", *number);
  if (const auto* text = std::get_if<std::string>(&param->value)) answer.set("value", *text);
  answer.set("enabled", param->properties.integer(kOfxParamPropEnabled, 1) != 0);
  return answer;
}

// The user changed a parameter or pressed a button.
Json change(const Json& command) {
  Effect& effect = effect_called(command);
  if (command.has("value")) set_value(effect, command["param"].text(), command["value"]);
  if (command.has("answer")) the_host().question_answer = static_cast<OfxStatus>(command["answer"].number());
  the_host().cancel_progress_at = command["cancel_at"].number(2);
  const std::string reason = command["reason"].text(kOfxChangeUserEdited);
  PropertySet in, bracket;
  bracket.put(kOfxPropChangeReason, reason);
  in.put(kOfxPropType, std::string(kOfxTypeParameter));
  in.put(kOfxPropName, command["param"].text());
  in.put(kOfxPropChangeReason, reason);
  in.put(kOfxPropTime, command["time"].number(1));
  in.put(kOfxImageEffectPropRenderScale, command["scale"].number(1), 0);
  in.put(kOfxImageEffectPropRenderScale, command["scale"].number(1), 1);
  call(&effect, effect.plugin, kOfxActionBeginInstanceChanged, &bracket, nullptr);
  const OfxStatus status = call(&effect, effect.plugin, kOfxActionInstanceChanged, &in, nullptr);
  call(&effect, effect.plugin, kOfxActionEndInstanceChanged, &bracket, nullptr);
  Json answer = status_answer(status), progress = Json::array();
  for (const auto& [seconds, value] : the_host().progress) {
    Json step = Json::array();
    step.append(seconds);
    step.append(value);
    progress.append(std::move(step));
  }
  the_host().progress.clear();
  answer.set("progress", std::move(progress));
  return answer;
}

Json clip(const Json& command) {
  Clip* clip = effect_called(command).clip(command["clip"].text());
  if (!clip) throw std::runtime_error("no clip " + command["clip"].text());
  if (command["connected"].type() == Json::Type::boolean)
    clip->properties.put(kOfxImageClipPropConnected, command["connected"].boolean() ? 1 : 0);
  for (const Json& frame : command["frames"].items())
    clip->pictures[frame["time"].number()] = std::make_unique<Picture>(frame);
  if (command.has("range"))
    for (std::size_t i = 0; i < 2; ++i)
      clip->properties.put(kOfxImageEffectPropFrameRange, command["range"].items()[i].number(), i);
  return Json::object();
}

PropertySet render_arguments(const Json& command, const OfxRectI& window) {
  PropertySet in;
  in.put(kOfxPropTime, command["time"].number(1));
  in.put(kOfxImageEffectPropFieldToRender, command["field"].text(kOfxImageFieldNone));
  in.put_rectangle(kOfxImageEffectPropRenderWindow, window);
  in.put(kOfxImageEffectPropRenderScale, command["scale"].number(1), 0);
  in.put(kOfxImageEffectPropRenderScale, command["scale"].number(1), 1);
  return in;
}

Json render(const Json& command) {
  Effect& effect = effect_called(command);
  const Picture output(command["output"]);
  const OfxRectI window = rectangle(command.has("window") ? command["window"] : command["output"]["bounds"]);
  PropertySet in = render_arguments(command, window);
  set_output_of_this_thread(command["no_output"].boolean() ? nullptr : &output);
  const auto started = std::chrono::steady_clock::now();
  const OfxStatus status = call(&effect, effect.plugin, kOfxImageEffectActionRender, &in, nullptr);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  set_output_of_this_thread(nullptr);
  if (command["output"].has("to")) output.write(command["output"]["to"].text());
  Json answer = status_answer(status);
  answer.set("seconds", took.count());
  answer.set("touched_outside", static_cast<double>(output.touched_outside(window)));
  return answer;
}

Json obey(const std::string& line);

// Renders at the same time, each on a thread of its own. "meanwhile" are commands for the interface thread,
// carried out while the renders are on their way; each answer gets the seconds that it took.
Json render_together(const Json& command) {
  const auto& commands = command["renders"].items();
  std::vector<Json> answers(commands.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < commands.size(); ++i)
    threads.emplace_back([&, i] { answers[i] = render(commands[i]); });
  if (command.has("meanwhile")) std::this_thread::sleep_for(std::chrono::milliseconds(200));
  Json list = Json::array(), meanwhile = Json::array();
  for (const Json& one : command["meanwhile"].items()) {
    const auto started = std::chrono::steady_clock::now();
    Json done = obey(one.dump());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
    meanwhile.append(done.set("seconds", took.count()));
  }
  for (auto& thread : threads) thread.join();
  for (Json& answer : answers) list.append(std::move(answer));
  Json answer = Json::object();
  answer.set("answers", std::move(list)).set("meanwhile", std::move(meanwhile));
  return answer;
}

Json touch(const Json& command) {
  std::ofstream(command["path"].text()) << "now";
  return Json::object();
}

Json abort_settings(const Json& command) {
  Effect& effect = effect_called(command);
  effect.abort_after = static_cast<int>(command["after"].number(-1));
  effect.aborts_asked = 0;
  return Json::object();
}

// Actions that only ask: identity, regions, frames.
Json ask(const Json& command) {
  Effect& effect = effect_called(command);
  PropertySet in = render_arguments(command, {0, 0, 1, 1}), out;
  for (std::size_t i = 0; i < 2; ++i) in.put(kOfxImageEffectPropFrameRange, command["time"].number(1), i);
  const std::string name = command["action"].text();
  const std::string action = (name == "PurgeCaches" ? "OfxAction" : "OfxImageEffectAction") + name;
  Json answer = status_answer(call(&effect, effect.plugin, action.c_str(), &in, &out));
  answer.set("out", out.to_json());
  return answer;
}

// Calls that a broken host makes: no property sets, no handle, an unknown action.
Json misuse(const Json& command) {
  OfxPlugin* plugin = plugin_called(command["plugin"].text());
  Effect* effect = command["instance"].is_null() ? nullptr : &effect_called(command);
  const std::string action = command["action"].text();
  return status_answer(
      plugin->mainEntry(action.empty() ? nullptr : action.c_str(), effect, nullptr, nullptr));
}

std::size_t count_in(const char* directory) {
  std::size_t count = 0;
  if (DIR* open = opendir(directory)) {
    while (readdir(open)) ++count;
    closedir(open);
  }
  return count;
}

Json measure(const Json&) {
  Json answer = Json::object();
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("RssAnon:", 0) == 0) answer.set("kilobytes", std::stod(line.substr(8)));
  answer.set("descriptors", static_cast<double>(count_in("/proc/self/fd")));
  answer.set("threads", static_cast<double>(count_in("/proc/self/task")) - 2);
  return answer;
}

// Lets the process open so many more descriptors; negative: as many as the system allows.
Json limit_descriptors(const Json& command) {
  const int free = static_cast<int>(command["free"].number());
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const int next = dup(0);
  close(next);
  limit.rlim_cur = free < 0 ? limit.rlim_max : static_cast<rlim_t>(next + free);
  setrlimit(RLIMIT_NOFILE, &limit);
  return Json::object();
}

// Closes the plugin and opens it again, as hosts do that scan their plugins.
Json reload(const Json& command) {
  for (int i = 0; i < static_cast<int>(command["count"].number()); ++i) {
    unload(command);
    load(command);
  }
  return Json::object();
}

// Create, render and destroy, as hosts do around every frame.
Json cycles(const Json& command) {
  OfxStatus worst = kOfxStatOK;
  for (int i = 0; i < static_cast<int>(command["count"].number()); ++i) {
    create(command["create"]);
    Effect& effect = effect_called(command["create"]);
    for (const Json& value : command["values"].items())
      set_value(effect, value["param"].text(), value["value"]);
    for (const Json& row : command["clips"].items()) clip(row);
    const Json answer = render(command["render"]);
    if (answer["status"].number() != kOfxStatOK) worst = static_cast<OfxStatus>(answer["status"].number());
    destroy(command["create"]);
  }
  return status_answer(worst);
}

// Forks, as some hosts do. The child carries out "commands" and exits; it gets two minutes.
Json fork_and_obey(const Json& command) {
  int ends[2];
  if (pipe(ends)) throw std::runtime_error("no pipe");
  const pid_t child = fork();
  if (child == 0) {
    Json answers = Json::array();
    for (const Json& one : command["commands"].items()) answers.append(obey(one.dump()));
    const std::string text = answers.dump();
    const bool is_written = write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
    std::exit(is_written ? 0 : 1);  // with static destructors, the plugin's too
  }
  close(ends[1]);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  int status = -1;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > deadline) kill(child, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  std::string text;
  char bytes[4096];
  for (ssize_t count; (count = read(ends[0], bytes, sizeof bytes)) > 0;)
    text.append(bytes, static_cast<std::size_t>(count));
  close(ends[0]);
  Json answer = status_answer(status);
  answer.set("answers", text.empty() ? Json::array() : Json::parse(text));
  return answer;
}

Json messages(const Json&) {
  Json list = Json::array(), wrong = Json::array();
  for (Json& message : the_host().messages) list.append(std::move(message));
  the_host().messages.clear();
  for (const std::string& text : violations()) wrong.append(text);
  Json answer = Json::object();
  answer.set("messages", std::move(list)).set("violations", std::move(wrong));
  return answer;
}

using Command = Json (*)(const Json&);
const std::map<std::string, Command> kCommands = {{"load", load},
                                                  {"unload", unload},
                                                  {"describe", describe},
                                                  {"create", create},
                                                  {"destroy", destroy},
                                                  {"set", set},
                                                  {"get", get},
                                                  {"change", change},
                                                  {"clip", clip},
                                                  {"render", render},
                                                  {"render_together", render_together},
                                                  {"touch", touch},
                                                  {"abort", abort_settings},
                                                  {"ask", ask},
                                                  {"misuse", misuse},
                                                  {"measure", measure},
                                                  {"limit_descriptors", limit_descriptors},
                                                  {"reload", reload},
                                                  {"cycles", cycles},
                                                  {"fork", fork_and_obey},
                                                  {"messages", messages}};

Json obey(const std::string& line) {
  try {
    const Json command = Json::parse(line);
    const auto found = kCommands.find(command["do"].text());
    if (found == kCommands.end()) throw std::runtime_error("no command " + command["do"].text());
    return found->second(command);
  } catch (const std::exception& error) {
    Json answer = Json::object();
    answer.set("error", error.what());
    return answer;
  }
}

}  // namespace
}  // namespace test_host

int main() {
  for (std::string line; std::getline(std::cin, line);)
    std::cout << test_host::obey(line).dump() << std::endl;
  return 0;
}
