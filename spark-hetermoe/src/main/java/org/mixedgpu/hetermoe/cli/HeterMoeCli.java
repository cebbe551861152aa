package org.mixedgpu.hetermoe.cli;

import java.io.PrintWriter;
import org.mixedgpu.base.MixedGpuException;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.IVersionProvider;

/**
 * Entry point of the command line and of {@code spark-submit --class}. Exit codes: 0 done, 1 the
 * work failed, 2 the command was not understood.
 */
@Command(
    name = "hetermoe",
    mixinStandardHelpOptions = true,
    versionProvider = HeterMoeCli.Version.class,
    description = "Trains Mixture-of-Experts models on Spark clusters that mix GPU generations.",
    synopsisSubcommandLabel = "COMMAND",
    exitCodeListHeading = "%nExit codes:%n",
    exitCodeList = {"0:done", "1:the work failed", "2:the command was not understood"})
public final class HeterMoeCli {
  public static void main(String[] args) {
    System.exit(commandLine().execute(args));
  }

  static CommandLine commandLine() {
    CommandLine line = new CommandLine(new HeterMoeCli());
    line.addSubcommand(TrainCommand.commandLine());
    line.addSubcommand(new EvaluateCommand());
    line.addSubcommand(new VerifyCommand());
    line.addSubcommand(new DevicesCommand());
    line.setUsageHelpAutoWidth(true);
    line.setExecutionExceptionHandler(HeterMoeCli::failed);
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
      String version = HeterMoeCli.class.getPackage().getImplementationVersion();
      return new String[] {"hetermoe " + (version == null ? "(from classes)" : version)};
    }
  }
}
