// Takes a bundle through all gates: whole FOLDER
#include <cstdio>

#include <trlm/adapt/chain.hpp>

using namespace trlm::adapt;

int main(int argc, char** argv) {
    if (argc != 2) return static_cast<int>(ExitCode::usage);

    auto source = Source::folder(argv[1]);
    if (!source) return static_cast<int>(source.error().exit_code());
    const ChainReport report = verify(*source, {.strict = true});

    for (std::size_t i = 0; i < gate_count; ++i) {
        std::printf("%-17s  %s\n", to_string(static_cast<Gate>(i)).data(),
                    to_string(report.gates[i]).data());
    }
    for (const Finding& finding : report.findings) {
        std::fprintf(stderr, "%s: %s [%s]\n", finding.file.c_str(), finding.message.c_str(),
                     finding_info(finding.code).name.data());
    }
    return static_cast<int>(report.findings.exit_code());
}
