package org.mixedgpu.io;

import java.io.EOFException;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.nio.file.NoSuchFileException;
import org.apache.hadoop.fs.ChecksumException;
import org.apache.hadoop.fs.FileAlreadyExistsException;
import org.apache.hadoop.fs.ParentNotDirectoryException;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.UnsupportedFileSystemException;
import org.apache.hadoop.hdfs.protocol.QuotaExceededException;
import org.apache.hadoop.security.AccessControlException;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** What an {@link IOException} of Hadoop means for the caller. */
final class HadoopFaults {
  private HadoopFaults() {}

  static MixedGpuException of(String action, Path path, IOException e) {
    return new MixedGpuException(
        fault(e), "Cannot " + action + " " + path + ": " + reason(e) + nextStep(e), e);
  }

  private static Fault fault(IOException e) {
    if (e instanceof EOFException || e instanceof ChecksumException) {
      return Fault.CORRUPT;
    }
    if (isFull(e)) {
      return Fault.EXHAUSTED;
    }
    if (e instanceof AccessControlException
        || e instanceof UnsupportedFileSystemException
        || e instanceof FileAlreadyExistsException
        || e instanceof ParentNotDirectoryException) {
      return Fault.BAD_INPUT;
    }
    return Fault.MISSING;
  }

  private static boolean isFull(IOException e) {
    return e instanceof QuotaExceededException
        || (e.getMessage() != null && e.getMessage().contains("No space left"));
  }

  private static String reason(IOException e) {
    if (e instanceof FileNotFoundException || e instanceof NoSuchFileException) {
      return "there is no such file";
    }
    return e.getClass().getSimpleName() + ": " + e.getMessage();
  }

  private static String nextStep(IOException e) {
    if (isFull(e)) {
      return "; free space there or choose another folder";
    }
    if (e instanceof AccessControlException) {
      return "; grant this user the right or choose another folder";
    }
    return "; check the path, and that its file system can be reached from here";
  }
}
