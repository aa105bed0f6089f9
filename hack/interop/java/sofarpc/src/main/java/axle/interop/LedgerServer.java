package axle.interop;

import com.alipay.sofa.rpc.config.ProviderConfig;
import com.alipay.sofa.rpc.config.ServerConfig;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/** A stock SOFARPC server. Arguments: port. */
public class LedgerServer implements Ledger {
    private final Set<Integer> ids = ConcurrentHashMap.newKeySet();
    private final AtomicInteger calls = new AtomicInteger();

    public static void main(String[] args) throws Exception {
        ServerConfig server = new ServerConfig().setProtocol("bolt").setHost("127.0.0.1").setPort(Integer.parseInt(args[0])).setDaemon(true);
        new ProviderConfig<Ledger>().setInterfaceId(Ledger.class.getName()).setRef(new LedgerServer()).setServer(server).setRegister(false).export();
        Report.untilStopped("serving");
        System.exit(0);
    }

    @Override
    public String echo(String text) {
        return text;
    }

    @Override
    public int add(int a, int b) {
        return a + b;
    }

    @Override
    public String repeat(String text, int times) {
        return text.repeat(times);
    }

    @Override
    public Entry post(Entry entry) {
        entry.setTotal(entry.getAmounts().stream().mapToLong(Integer::longValue).sum());
        return entry;
    }

    @Override
    public String slow(String text, int ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        return text;
    }

    @Override
    public void note(int id) {
        ids.add(id);
        calls.incrementAndGet();
    }

    @Override
    public int noted() {
        return calls.get() == ids.size() ? ids.size() : -1;
    }

    @Override
    public String fail(String text) throws LedgerException {
        throw new LedgerException(text);
    }
}
