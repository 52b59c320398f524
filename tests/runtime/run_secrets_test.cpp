// The keys of a run's control plane are where they have to be and nowhere else, and nobody outside
// this host can reach it.
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <set>
#include <sstream>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

namespace fs = std::filesystem;

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// The secrets that a process holds: what it inherited is still in its memory, as JSON.
std::set<std::string> secrets_of(pid_t pid) {
  std::set<std::string> secrets;
  std::size_t budget = 64 << 20;
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  std::ifstream memory("/proc/" + std::to_string(pid) + "/mem", std::ios::binary);
  for (std::string line; std::getline(maps, line);) {
    const bool of_a_file = line.find('/') != std::string::npos;
    if (of_a_file || line.find("rw-p") == std::string::npos) continue;
    const std::size_t dash = line.find('-');
    const auto begin = std::stoull(line.substr(0, dash), nullptr, 16);
    const auto end = std::stoull(line.substr(dash + 1), nullptr, 16);
    if (end - begin > (16 << 20) || budget < end - begin) continue;
    budget -= end - begin;
    std::string bytes(end - begin, '\0');
    memory.clear();
    memory.seekg(static_cast<std::streamoff>(begin));
    memory.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    bytes.resize(static_cast<std::size_t>(std::max<std::streamsize>(memory.gcount(), 0)));
    for (const std::string& name : {std::string("secret_key\":\""), std::string("seal_key\":\"")})
      for (std::size_t at = bytes.find(name); at != std::string::npos;
           at = bytes.find(name, at + 1)) {
        const std::string secret = bytes.substr(at + name.size(), 40);
        if (secret.size() == 40 && secret.find('"') == std::string::npos) secrets.insert(secret);
      }
  }
  return secrets;
}

/// Addresses (hexadecimal, as in /proc/net/tcp) on which the process listens.
std::vector<std::string> listening(pid_t pid) {
  std::set<std::string> inodes;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd", error)) {
    const std::string target = fs::read_symlink(entry.path(), error).string();
    if (target.starts_with("socket:[")) inodes.insert(target.substr(8, target.size() - 9));
  }
  std::vector<std::string> found;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    std::string line;
    for (std::getline(file, line); std::getline(file, line);) {
      std::istringstream fields(line);
      std::string slot, local, remote, state, field, inode;
      fields >> slot >> local >> remote >> state;
      for (int i = 0; i < 6 && fields >> inode;) ++i;
      if (state == "0A" && inodes.contains(inode))
        found.push_back(local.substr(0, local.find(':')));
    }
  }
  return found;
}

TEST(RunSecrets, AreOnNoCommandLineInNoEnvironmentAndInNoFileOfTheRun) {
  const Place place;
  const fs::path run = place / "run";
  Weft child(
      {"run", place.supervised_job(), "--dir", run.string(), "--set", "pretrain.steps=100000"});
  ASSERT_TRUE(eventually([&] { return steps_of(run) >= 3 || !child.running(); }));
  std::vector<pid_t> processes = child.workers();
  processes.push_back(child.pid());
  std::set<std::string> secrets;
  int num_listening = 0;
  for (const pid_t pid : processes) {
    secrets.merge(secrets_of(pid));
    for (const std::string& address : listening(pid)) {
      EXPECT_TRUE(address == "0100007F") << address << " of process " << pid;
      ++num_listening;
    }
  }
  EXPECT_GT(num_listening, 0);  // this test looks where there is something
  const auto expect_none_in = [&](const fs::path& where) {
    const std::string bytes = bytes_of(where);
    for (const std::string& secret : secrets)
      EXPECT_EQ(bytes.find(secret), std::string::npos) << where;
  };
  for (const fs::path& process : fs::directory_iterator("/proc"))
    if (std::isdigit(static_cast<unsigned char>(process.filename().string()[0]))) {
      expect_none_in(process / "cmdline");
      expect_none_in(process / "environ");
    }
  // The run goes on meanwhile: what is gone when we come to it is passed over.
  std::error_code error;
  for (fs::recursive_directory_iterator at(run, error), end; at != end; at.increment(error)) {
    if (error) break;
    if (at->is_regular_file(error) && at->path().filename() != "run.keys")
      expect_none_in(at->path());
  }
  if (secrets.empty())
    std::printf(
        "no secret was found in the memory of the run's processes: only addresses checked\n");
  child.signal(SIGINT);
  child.wait();
}

TEST(RunSecrets, OfAgentsAreInTheirFileAloneWhichIsTheirOwnersAlone) {
  const Place place;
  const fs::path run = place / "run", keys = run / "keys" / "run.keys";
  ASSERT_EQ(weft({"run", place.supervised_job(), "--dir", run.string(), "--prepare", "--set",
                  "pretrain.steps=100000"})
                .code,
            0);
  EXPECT_EQ(fs::status(keys).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(fs::status(run / "keys").permissions(), fs::perms::owner_all);
  std::set<std::string> secrets;
  std::istringstream text(bytes_of(keys));
  for (std::string word; text >> word;)
    if (word.size() == 40) secrets.insert(word);
  ASSERT_GE(secrets.size(), 2u) << "this test looks for something";
  Weft agent({"agent", "--run", run.string(), "--node", "ours"});
  ASSERT_TRUE(eventually([&] { return steps_of(run) >= 3 || !agent.running(); }));
  ASSERT_TRUE(agent.running());
  std::vector<pid_t> processes = agent.everybody();
  processes.push_back(agent.pid());
  EXPECT_GE(processes.size(), 6u);  // agent, coordinator, four workers
  for (const pid_t pid : processes)
    for (const char* words : {"/cmdline", "/environ"}) {
      const std::string said = bytes_of("/proc/" + std::to_string(pid) + words);
      for (const std::string& secret : secrets) EXPECT_EQ(said.find(secret), std::string::npos);
    }
  agent.signal(SIGINT);
  EXPECT_EQ(agent.wait().code, 130);
  for (const auto& entry : fs::recursive_directory_iterator(run))
    if (entry.is_regular_file() && entry.path() != keys) {
      const std::string bytes = bytes_of(entry.path());
      for (const std::string& secret : secrets)
        EXPECT_EQ(bytes.find(secret), std::string::npos) << entry.path();
    }
}

}  // namespace
}  // namespace weft::test
