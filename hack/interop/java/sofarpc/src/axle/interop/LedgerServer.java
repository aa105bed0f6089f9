package axle.interop;

import com.alipay.sofa.rpc.common.RpcConfigs;
import com.alipay.sofa.rpc.common.RpcOptions;
import com.alipay.sofa.rpc.config.ProviderConfig;
import com.alipay.sofa.rpc.config.ServerConfig;

/** A stock SOFARPC server. Arguments: port, and the URL that it calls for each echo; without it calls nobody. */
public class LedgerServer {
    public static void main(String[] args) throws Exception {
        RpcConfigs.putValue(RpcOptions.INVOKE_BAGGAGE_ENABLE, true); // before the context is used
        ServerConfig server = new ServerConfig().setProtocol("bolt").setHost("127.0.0.1").setPort(Integer.parseInt(args[0])).setDaemon(true);
        export(server, Ledger.class, args.length > 1 ? new Onward(args[1]) : new Books());
        export(server, Coins.class, new Mint());
        Report.untilStopped("serving");
        System.exit(0);
    }

    private static <T> void export(ServerConfig server, Class<T> of, T by) {
        new ProviderConfig<T>().setInterfaceId(of.getName()).setRef(by).setServer(server).setRegister(false).export();
    }
}
