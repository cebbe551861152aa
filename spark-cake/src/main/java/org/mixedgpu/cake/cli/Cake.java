package org.mixedgpu.cake.cli;

import java.io.PrintWriter;
import org.mixedgpu.base.MixedGpuException;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.IVersionProvider;

/**
 * Entry point of the command line and of {@code spark-submit --class}. Exit codes: 0 done, 1 the
 * work failed or found damage, 2 the command was not understood.
 */
@Command(
    name = "cake",
    mixinStandardHelpOptions = true,
    versionProvider = Cake.Version.class,
    description = "Batch prefill of language models over tables, with prefix KV caches on HDFS.",
    synopsisSubcommandLabel = "COMMAND",
    footer = {"", "Example:", "  cake prefill --help"},
    exitCodeListHeading = "%nExit codes:%n",
    exitCodeList = {
      "0:done",
      "1:the work failed, or a bundle is damaged",
      "2:the command was not understood"
    })
public final class Cake {
  public static void main(String[] args) {
    System.exit(commandLine().execute(args));
  }

  static CommandLine commandLine() {
    CommandLine line = new CommandLine(new Cake());
    line.addSubcommand(PrefillCommand.commandLine());
    line.addSubcommand(new ListCommand());
    line.addSubcommand(new VerifyCommand());
    line.setUsageHelpAutoWidth(true);
    line.setExecutionExceptionHandler(Cake::failed);
    return line;
  }

  /** Our own failures say all there is to say; of others the trace is the only thing there is. */
  private static int failed(Exception e, CommandLine line, CommandLine.ParseResult parsed) {
    PrintWriter err = line.getErr();
    if (e instanceof MixedGpuException ours) {
      err.println(ours.fault() + ": " + ours.getMessage());
    } else {
      e.printStackTrace(err);
    }
    err.flush();
    return CommandLine.ExitCode.SOFTWARE;
  }

  static final class Version implements IVersionProvider {
    @Override
    public String[] getVersion() {
      String version = Cake.class.getPackage().getImplementationVersion();
      return new String[] {"cake " + (version == null ? "(from classes)" : version)};
    }
  }
}
