/**
 * A whole cluster on one machine, as processes of its own: NameNode, DataNode, Spark Master and
 * unequal Workers. For the quick start and the integration tests. Layer 0: imports the JDK only and
 * names Spark's and Hadoop's main classes as text, because they run in other processes.
 */
package org.mixedgpu.local;
