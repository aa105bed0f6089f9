package axle.interop;

import com.alipay.remoting.BizContext;
import com.alipay.remoting.rpc.RpcServer;
import com.alipay.remoting.rpc.protocol.SyncUserProcessor;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** A stock SOFABolt server, without SOFARPC: it gives texts back. Argument: port. */
public class BoltServer extends SyncUserProcessor<String> {
    private final Set<String> notes = ConcurrentHashMap.newKeySet();

    public static void main(String[] args) throws Exception {
        RpcServer server = new RpcServer("127.0.0.1", Integer.parseInt(args[0]));
        server.registerUserProcessor(new BoltServer());
        server.startup();
        Report.untilStopped("serving");
        System.exit(0);
    }

    @Override
    public Object handleRequest(BizContext context, String text) throws Exception {
        if (text.startsWith("note ") && !notes.add(text)) {
            notes.add("twice: " + text);
        }
        switch (text) {
            case "notes":
                return String.valueOf(notes.size());
            case "fail":
                throw new IllegalStateException("as it was told");
            default:
                return text;
        }
    }

    @Override
    public String interest() {
        return String.class.getName();
    }
}
