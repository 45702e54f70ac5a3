// One life of the worker: its process, and the thread that reads from it and writes to it.
//
// The protocol is specified in python/copycat/worker/protocol.py.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include "descriptor.h"
#include "error_output.h"
#include "json.h"
#include "process_activity.h"
#include "shared_memory.h"
#include "worker_process.h"

namespace copycat {

constexpr int kProtocolVersion = 1;

// The worker refused the request or failed; what() is a sentence for the user.
class WorkerError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The worker had started, and died or fell silent before it answered: another one may well succeed.
class WorkerLost : public WorkerError {
 public:
  using WorkerError::WorkerError;
};

// Any thread may call any member. None waits for the worker but the destructor.
class Connection {
 public:
  // What becomes of a request. Guarded by the connection's mutex; see the members that take one.
  struct Reply {
    bool is_render = false;
    bool is_sent = false;  // in part at least: the worker will act on it
    bool is_answered = false;
    Json answer;
    double progress = -1;  // 0 to 1, less before the worker reports any
  };

  // Starts the process and the thread. Throws std::runtime_error with a sentence when it cannot.
  Connection();
  // Ends both; takes as long as the worker needs to clean up, 4 s at most.
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // False when the next request needs a new worker.
  bool is_usable();
  bool is_ready();  // the worker has introduced itself
  bool is_ours() const { return process_.is_ours(); }

  // Queues a request, to be sent as soon as the worker is ready. `memory` may be null. `reply` stays the
  // caller's, who calls withdraw() before it goes.
  void post(int id, Json request, std::shared_ptr<SharedMemory> memory, Reply& reply);
  // Sends a request whose answer nobody waits for; leaves it out while the worker does not keep up.
  void post_if_idle(int id, Json request);
  // Asks the worker to give a request up. False when it was not sent: then it never is.
  bool cancel(int id);
  // Forgets the reply, and a request that was not sent.
  void withdraw(int id);

  // Waits for the answer, the end of the worker or the deadline. False at the deadline.
  bool wait(const Reply& reply, std::chrono::steady_clock::time_point deadline);
  double progress(const Reply& reply);
  bool has_succeeded(const Reply& reply);  // is answered, and not with an error
  bool is_under_way(const Reply& reply);   // is sent and not answered
  // The answer's "ok". Throws WorkerError with its "error", or, where there is none, with what became of the
  // worker.
  Json result(const Reply& reply);

 private:
  using Clock = std::chrono::steady_clock;

  // A message on its way. Framed when its turn comes: what was withdrawn until then leaves no trace.
  struct Outgoing {
    int id = 0;  // of the request, 0 for what nobody waits for
    Json message;
    std::shared_ptr<SharedMemory> memory;  // of the request, or null
    std::string frame;                     // empty until its turn comes
    std::size_t sent = 0;                  // bytes
    bool brings_memory = false;            // its descriptor goes along
  };

  void queue(Outgoing outgoing);
  void remove_unsent(int id);
  void wake();

  // On the connection's own thread.
  void run();
  void receive_messages();
  void read_errors();
  void write_messages();
  void frame(Outgoing& outgoing);
  void handle(const Json& message);
  void lose(const std::string& reason);
  void watch_silence();
  std::chrono::seconds patience() const;
  Clock::time_point next_look() const;

  WorkerProcess process_;
  DescriptorPair alarm_;  // a byte written to the second wakes the thread
  std::mutex mutex_;      // of what follows, up to the members of the thread
  std::condition_variable changed_;
  std::deque<Outgoing> outgoing_;
  std::map<int, Reply*> pending_;                              // by request
  std::map<int, std::weak_ptr<SharedMemory>> mapped_buffers_;  // that the worker has
  Clock::time_point last_heard_ = Clock::now();
  std::optional<Activity> activity_;  // of the worker in the middle of its silence; none before
  bool is_ready_ = false;
  bool is_warm_ = false;  // it has rendered: all that it needs is imported
  bool is_ending_ = false;
  std::string loss_;  // why the worker is lost; empty while it is not

  // Of the thread alone.
  std::string received_;  // bytes of a message that has not arrived whole
  ErrorOutput error_output_;
  bool errors_are_open_ = true;
  std::thread thread_;
};

}  // namespace copycat
