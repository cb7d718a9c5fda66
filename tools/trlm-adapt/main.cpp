// The process: its streams and signals, one command line, its exit code.

#include <fcntl.h>
#include <unistd.h>

#include "command_line.hpp"
#include "inputs.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "trlm/adapt/finding.hpp"

namespace trlm::adapt::cli {
namespace {

/// Standard streams that were closed are opened on nothing: a file that is opened later must not
/// get their numbers, and with them what is printed. Printing to a closed stdout stays an error.
void occupy_standard_streams() noexcept {
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(stream, F_GETFD) >= 0) continue;
        (void)::open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY);
    }
}

}  // namespace
}  // namespace trlm::adapt::cli

int main(int argc, char** argv) {
    namespace cli = trlm::adapt::cli;
    cli::occupy_standard_streams();
    cli::install_signal_handlers();
    try {
        return cli::run_command_line(argc, argv);
    } catch (...) {
        // Even the words for it could not be found.
        (void)cli::write_all(STDERR_FILENO, "error: trlm-adapt ran out of memory\n");
        return static_cast<int>(trlm::adapt::ExitCode::cannot_check);
    }
}
