// What is said of a node: the kernel's files read, and both kinds of figures as Prometheus's text.
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "runtime/agent/node_metrics.h"

namespace weft::runtime {
namespace {

void read_processors(NodeReadings& readings) {
  std::ifstream file("/proc/stat");
  std::string name;
  double user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0, steal = 0;
  if (!(file >> name >> user >> nice >> system >> idle >> wait >> irq >> soft >> steal)) return;
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  readings.cpu_busy_seconds = (user + nice + system + irq + soft + steal) / ticks;
  readings.cpu_idle_seconds = (idle + wait) / ticks;
}

void read_memory(NodeReadings& readings) {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    double kib = 0;
    if (!(words >> name >> kib)) continue;
    if (name == "MemTotal:") readings.memory_bytes = kib * 1024;
    if (name == "MemAvailable:") readings.memory_available_bytes = kib * 1024;
  }
}

/// Lines of one metric.
class Metric {
 public:
  Metric(std::string& out, const std::string& name, const char* type, const char* help)
      : out_(out), name_(name) {
    out_ += "# HELP " + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
  }
  void value(const std::string& labels, double value) {
    std::ostringstream number;
    number.precision(15);
    number << value;
    out_ += name_ + "{" + labels + "} " + number.str() + "\n";
  }

 private:
  std::string& out_;
  std::string name_;
};

std::string label(const char* name, const std::string& value) {
  std::string text = std::string(name) + "=\"";
  for (const char letter : value) {
    if (letter == '\n') {
      text += "\\n";
      continue;
    }
    if (letter == '"' || letter == '\\') text += '\\';
    text += letter;
  }
  return text + '"';
}

}  // namespace

NodeReadings read_node(const std::filesystem::path& run_directory) {
  NodeReadings readings;
  read_processors(readings);
  read_memory(readings);
  std::error_code error;
  const auto space = std::filesystem::space(run_directory, error);
  if (!error) {
    readings.disk_bytes = static_cast<double>(space.capacity);
    readings.disk_free_bytes = static_cast<double>(space.available);
  }
  while (std::filesystem::exists("/dev/nvidia" + std::to_string(readings.gpus), error))
    ++readings.gpus;
  return readings;
}

NodeFigures figures_of(const AgentState& state) {
  NodeFigures figures;
  figures.node = state.node;
  figures.term = state.election.term;
  figures.generation = state.generation;
  for (const auto& [of, spool] : state.spools)
    figures.unacknowledged += static_cast<std::int64_t>(spool.waiting.size());
  for (const auto& [rank, worker] : state.workers) figures.workers.push_back(worker.status);
  return figures;
}

std::string to_prometheus(const NodeFigures& figures, const NodeReadings& readings) {
  std::string out;
  const std::string node = label("node", figures.node);
  const auto one = [&](const char* name, const char* help, double value) {
    if (value >= 0) Metric(out, name, "gauge", help).value(node, value);
  };
  if (readings.cpu_busy_seconds >= 0) {
    Metric cpu(out, "weft_node_cpu_seconds_total", "counter",
               "Processor time of the machine since it started, all cores");
    cpu.value(node + ",mode=\"busy\"", readings.cpu_busy_seconds);
    cpu.value(node + ",mode=\"idle\"", readings.cpu_idle_seconds);
  }
  one("weft_node_memory_bytes", "Memory of the machine", readings.memory_bytes);
  one("weft_node_memory_available_bytes", "Memory that can be had without swapping",
      readings.memory_available_bytes);
  one("weft_node_disk_bytes", "File system of the run directory", readings.disk_bytes);
  one("weft_node_disk_free_bytes", "Free there", readings.disk_free_bytes);
  one("weft_node_gpus", "NVIDIA devices that the driver shows", readings.gpus);
  int alive = 0;
  for (const WorkerStatus& worker : figures.workers) alive += !worker.gone;
  one("weft_node_workers", "Workers of this node that are alive", alive);
  one("weft_node_generation", "Generation that they are of",
      static_cast<double>(figures.generation));
  one("weft_node_term", "Term of the coordinator that the agent obeys",
      static_cast<double>(figures.term));
  one("weft_node_records_unacknowledged", "Records that no coordinator has stored yet",
      static_cast<double>(figures.unacknowledged));
  if (figures.workers.empty()) return out;
  const auto rank = [&](const WorkerStatus& worker) {
    return node + "," + label("rank", std::to_string(worker.rank));
  };
  Metric step(out, "weft_rank_step", "gauge", "Last complete step, -1: none yet");
  for (const WorkerStatus& worker : figures.workers)
    step.value(rank(worker), static_cast<double>(worker.step));
  Metric up(out, "weft_rank_up", "gauge", "1: its process is there");
  for (const WorkerStatus& worker : figures.workers) up.value(rank(worker), worker.gone ? 0 : 1);
  return out;
}

}  // namespace weft::runtime
