// The client's side of the worker: one process per host, started by the first request, shared by all
// instances.
//
// The protocol is written down in python/copycat/worker/protocol.py. No thread is kept here: of the threads
// that wait for an answer, one reads the socket for all of them.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "json.h"
#include "shared_memory.h"
#include "worker_process.h"

namespace copycat {

constexpr int kProtocolVersion = 1;

// The worker refused the request or failed; what() is a sentence for the user.
class WorkerError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The host asked to stop; nobody is to be told.
class Cancelled : public std::exception {};

using Aborted = std::function<bool()>;
using Progress = std::function<void(double)>;  // called with the worker's progress, 0 to 1

class Worker;

// Shared memory on loan from the worker's pool, given back on destruction.
class Buffer {
 public:
  Buffer(std::shared_ptr<Worker> worker, std::size_t bytes);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* data() const { return memory_->data(); }
  SharedMemory& memory() const { return *memory_; }
  void discard() { discarded_ = true; }  // the worker may still be writing to it

 private:
  std::shared_ptr<Worker> worker_;
  std::unique_ptr<SharedMemory> memory_;
  bool discarded_ = false;
};

class Worker {
 public:
  Worker() = default;
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Sends a request and waits for its answer, starting the worker if need be. `buffer` may be null. Any
  // thread. Throws WorkerError, or Cancelled once `aborted` returns true.
  Json ask(Json request, Buffer* buffer, const Aborted& aborted, const Progress& progress = {});

  // Whether a request would be sent at once: nobody has to wait for a worker that starts.
  bool is_ready();

  // How many worker processes there have been: what one was told, the next does not know.
  int count();

  // Gives memory back: idle buffers, and the models that the worker has read. Waits for nothing.
  void purge();

 private:
  friend class Buffer;
  struct Pending;
  struct Connection;

  static bool has_died_idle(const Connection& connection);
  std::shared_ptr<Connection> connect();
  void send(Connection& connection, Json& request, Buffer* buffer);
  static void forget(Connection& connection, const SharedMemory& piece);
  void read_once(Connection& connection, std::unique_lock<std::mutex>& lock);
  void receive(Connection& connection, const Json& message);

  std::unique_ptr<SharedMemory> borrow(std::size_t bytes);
  void give_back(std::unique_ptr<SharedMemory> memory, bool discarded);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<Connection> connection_;
  int next_request_ = 1;
  int count_ = 0;
  std::vector<std::unique_ptr<SharedMemory>> idle_;  // the pool, the latest used last
};

// The process's worker; made on first use.
std::shared_ptr<Worker> worker();

// Lets go of what the process and its worker keep for later, if there is a worker.
void purge_worker();

// Ends the worker if there is one, when nobody uses it any more.
void end_worker();

}  // namespace copycat
