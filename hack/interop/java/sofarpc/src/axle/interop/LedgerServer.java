package axle.interop;

import com.alipay.sofa.rpc.config.ProviderConfig;
import com.alipay.sofa.rpc.config.ServerConfig;

/** A stock SOFARPC server. Argument: port. */
public class LedgerServer {
    public static void main(String[] args) throws Exception {
        ServerConfig server = new ServerConfig().setProtocol("bolt").setHost("127.0.0.1").setPort(Integer.parseInt(args[0])).setDaemon(true);
        new ProviderConfig<Ledger>().setInterfaceId(Ledger.class.getName()).setRef(new Books()).setServer(server).setRegister(false).export();
        Report.untilStopped("serving");
        System.exit(0);
    }
}
